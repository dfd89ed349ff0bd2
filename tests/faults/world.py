"""One served model, an operator process behind the proxy, and a load client: where a fault test takes place."""

from __future__ import annotations

import functools
import itertools
import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis
from loop.appending import PARTITIONS
from loop.callers import LocalCaller
from loop.manifests import NAME, merged
from loop.serving import entry
from loop.space import Space
from operators import Operator, until

from faults.invariants import Watchman
from faults.light.contract import golden
from faults.manifests import fault_map, light_update
from faults.phases import LEADING_TO
from faults.proxy import Proxy
from faults.registry import RegistryProxy
from faults.timeline import Object, Timeline
from viridian_operator.api.names import REVISION

LIMIT = 90.0
PROGRAM = ("-m", "viridian_operator")
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Mark:
    """A moment, to tell what came after it."""

    number: int
    version: int
    call: int
    counters: dict[str, int]
    status: dict[str, Any]


@dataclass
class World:
    """See the module; ``fixed`` are changes of the spec that stay for all tests that follow."""

    space: Space
    proxy: Proxy
    timeline: Timeline
    registry: RegistryProxy
    log: str
    folder: Path
    fixed: dict[str, Any] = field(default_factory=dict)
    operators: list[Operator] = field(default_factory=list)
    load: LocalCaller | None = None
    digests: set[str] = field(default_factory=set)

    # --- the operator

    def start(self, *, wait: bool = True, **environment: str) -> Operator:
        """A new operator process; a single one needs no Lease."""
        variables = {"VIRIDIAN_NAMESPACES": self.space.name, "VIRIDIAN_LEASE_NAMESPACE": self.space.name}
        variables |= {"VIRIDIAN_LEADER_ELECTION": "false", **environment}
        operator = Operator(self.folder, self.proxy.kubeconfig, next(_numbers), PROGRAM, **variables)
        self.operators.append(operator)
        if wait:
            until(operator.ready, "the operator is ready", 60)
        return operator

    def kill(self) -> None:
        """SIGKILL to every operator process."""
        for operator in self.operators:
            operator.end()
        self.operators.clear()

    def close(self) -> None:
        """End what it started."""
        self.kill()
        if self.load is not None:
            self.load.stop()

    # --- what people do

    def apply(self, **changes: Any) -> None:
        """Commit the ModelUpdate with ``changes`` of its spec."""
        self.space.apply(light_update(self.space.name, self.registry.uri, self.log, **{**self.fixed, **changes}))

    @contextmanager
    def leading_to(self, *phases: str) -> Iterator[None]:
        """The spec lets updates get to ``phases`` meanwhile, also to those that an ordinary update never is in."""
        changes: dict[str, Any] = functools.reduce(merged, (LEADING_TO.get(phase, {}) for phase in phases))
        if changes:
            self.apply(**changes)
        try:
            yield
        finally:
            if changes:
                self.apply()

    def append(self, count: int = 4) -> None:
        """New events, so that there is something to train on."""
        with redis.Redis.from_url(self.log) as client:
            for number in range(count):
                client.xadd(f"{self.space.name}:{number % PARTITIONS}", {"event": "{}"})

    def request(self, verb: str) -> str:
        """Ask for something."""
        return self.space.request(NAME, verb)

    def update(self) -> Mark:
        """Ask for an update; returns the moment before.

        A full one: whether there are new events plays no part.
        """
        mark = self.mark()
        self.request("retrain")
        return mark

    def prepare_faults(self, **by_version: Any) -> None:
        """Faults that pods have from their start on, by version."""
        self.space.apply(fault_map(by_version))

    def next_version(self) -> str:
        """The version that the next training will register."""
        status = self.status()
        known = [int(each["version"]) for each in status.get("history") or () if each.get("version")]
        return str(1 + max(known, default=0))

    def strike(self, revision: str, fault: dict[str, Any], pods: int = 100) -> list[str]:
        """A fault in service, in so many pods of a revision; returns their names."""
        found = [pod for pod in self.timeline.list("Pod", **{REVISION: revision}) if pod["status"].get("podIP")]
        for pod in found[:pods]:
            request = urllib.request.Request(f"http://{pod['status']['podIP']}:8080/fault", json.dumps(fault).encode())
            try:
                urllib.request.urlopen(request, timeout=5).close()
            except OSError:
                # one that is dead has no fault any more
                assert not fault or fault.get("crash") or fault.get("oom"), f"{pod['metadata']['name']} took no fault"
        return [pod["metadata"]["name"] for pod in found[:pods]]

    # --- what there is to see

    def status(self) -> dict[str, Any]:
        """Of the ModelUpdate."""
        found: dict[str, Any] = (self.timeline.get("ModelUpdate", NAME) or {}).get("status") or {}
        return found

    def mark(self) -> Mark:
        """Now."""
        # a status that was lost and rebuilt knows no update, but the number of the last one
        status = self.status()
        number = int((status.get("update") or status.get("seen") or {}).get("number", 0))
        counters = self.load.counters() if self.load else {}
        return Mark(number, self.timeline.version, len(self.proxy.calls), counters, self.status())

    def phase(self, mark: Mark, *phases: str, seconds: float = LIMIT) -> dict[str, Any]:
        """Wait until the update after ``mark`` is, or was, in one of ``phases``; returns the status."""

        def reached() -> dict[str, Any]:
            update = self.status().get("update") or {}
            if update.get("number") != mark.number + 1:
                return {}
            self._teach((update.get("candidate") or {}).get("digest"))
            past = [record["phase"] for record in update.get("phases") or ()]
            return self.status() if {update["phase"], *past} & set(phases) else {}

        return self.timeline.wait(reached, seconds, f"update {mark.number + 1} in {' or '.join(phases)}")

    def ended(self, mark: Mark, seconds: float = LIMIT) -> dict[str, Any]:
        """Wait for the end of the update after ``mark``; returns its record."""

        def over() -> dict[str, Any] | None:
            self._teach(((self.status().get("update") or {}).get("candidate") or {}).get("digest"))
            return entry(self.status(), mark.number + 1)

        return self.timeline.wait(over, seconds, f"end of update {mark.number + 1}") or {}

    def settled(self, seconds: float = LIMIT) -> None:
        """Wait until nothing is under way and what is active is ready at its full size."""

        def quiet() -> bool:
            status = self.status()
            active = status.get("active") or {}
            deployment: Object = self.timeline.get("Deployment", active.get("deployment", "")) or {}
            ready = (deployment.get("status") or {}).get("readyReplicas", 0)
            wanted = (deployment.get("spec") or {}).get("replicas", -1)
            return status.get("phase") == "Idle" or (ready == wanted and not _running(status))

        self.timeline.wait(quiet, seconds, "everything has settled")

    def watchman(self) -> Watchman:
        """The invariants over everything that has happened."""
        return Watchman(NAME).look(self.timeline.since())

    def watchman_until(self, mark: Mark) -> Watchman:
        """The same up to ``mark``."""
        return Watchman(NAME).look(change for change in self.timeline.since() if change.version <= mark.version)

    def serve_first(self) -> None:
        """A first model, and a load client that calls it."""
        self.append()
        self.apply()
        mark = Mark(0, 0, 0, {}, {})
        assert self.ended(mark)["phase"] == "Succeeded"
        service = self.timeline.get("Service", NAME) or {}
        address = f"{service['spec']['clusterIP']}:{service['spec']['ports'][0]['port']}"
        self.load = LocalCaller(address, self.space.name, self.folder / "golden.json")

    def _teach(self, digest: str | None) -> None:
        """The load client learns the right answers of a version before it serves."""
        if not digest or digest in self.digests:
            return
        self.digests.add(digest)
        part = self.folder / "golden.part"
        part.write_text(json.dumps({each: golden(each) for each in self.digests}))
        part.rename(self.folder / "golden.json")


def _running(status: dict[str, Any]) -> bool:
    update = status.get("update") or {}
    return bool(update) and not update.get("finishedAt")
