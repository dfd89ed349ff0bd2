"""Step (e): a model that is trained on every event at once, shown while it happens."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from viridian_demo.callers import Caller
from viridian_demo.commands import Tools, announced_port
from viridian_demo.events import Producer
from viridian_demo.install import NAMESPACE, image, manifest
from viridian_demo.report import Chapter
from viridian_demo.screen import Screen
from viridian_demo.watching import Status, Watcher

NAME = "live"
FIRST, POISONED = 6000, 2000
#: events per second while replicas are looked at, and the most of them
RATE, MOST = 60, 9000
DEADLINE = 300.0
#: seconds between two looks at the replicas, and between two lines about them
LOOK, LINE = 0.2, 2.0
#: seconds in which the first event has to flow, and for which replicas are looked at then
LONGEST_START, WATCHED = 60.0, 16.0
#: what others promise for training without a gate (Ekko, OSDI 2022)
FRESH = 2.4


@dataclass
class Live:
    """The parts of the step."""

    tools: Tools
    screen: Screen
    rate: int
    inputs: str
    chapter: Chapter = field(default_factory=lambda: Chapter("(e) online", 2, "Succeeded"))

    def tell(self) -> Chapter:
        """The whole step; what does not hold is in the chapter."""
        self.screen.title("(e) a model is trained on every event at once, and replicas follow within a second")
        producer = Producer(self.tools, self.screen, "synthetic", stream=NAME)
        caller = Caller(self.tools, rate=self.rate, inputs=self.inputs, service=NAME, model=NAME)
        producer.append(FIRST)
        text = manifest("online", TRAINER_IMAGE=image("trainer"), SERVER_IMAGE=image("server"))
        self.tools.kubectl("apply", "-f", "-", stdin=text)
        watcher = Watcher(self.tools, self.screen, NAME)
        try:
            self._first_model(watcher, caller)
            before = caller.counters()
            with producer.flowing(RATE, MOST):
                self._freshness()
                self._anchor(watcher)
            self._repair(watcher)
            self._rarer_anchors(watcher)
            self._poison(watcher, producer)
            self._count(before, caller.counters())
        finally:
            watcher.close()
        caller.stop()
        return self.chapter

    def _first_model(self, watcher: Watcher, caller: Caller) -> None:
        watcher.wait(lambda s: (s.get("update") or {}).get("phase") == "Baking", DEADLINE, "the first bake")
        caller.start()
        watcher.ended(1, DEADLINE)
        watcher.wait(lambda s: training(s).get("status") == "True", DEADLINE, "the first delta")
        self.screen.say(f"online: {training(watcher.status)['message']}", style="bold")

    def _freshness(self) -> None:
        """How old the newest event is that a replica answers with, asked of each pod again and again."""
        ages: list[float] = []
        with replicas(self.tools) as look:
            began, line = time.time(), 0.0
            end = time.monotonic() + LONGEST_START
            while time.monotonic() < end:
                found = look()
                # none before the first of the events that flow has arrived
                new = [time.time() - each["eventTime"] for each in found.values() if each["eventTime"] > began]
                if new and not ages:
                    end = time.monotonic() + WATCHED
                ages += new
                if new and time.monotonic() >= line:
                    line = time.monotonic() + LINE
                    self._line(found, max(new))
                time.sleep(LOOK)
        self._judge_freshness(ages)

    def _line(self, found: dict[str, Any], age: float) -> None:
        pods = ", ".join(f"{name[-5:]} at {each['sequence']}" for name, each in sorted(found.items()))
        self.screen.say(f"replicas: {pods}; event → served {age:.2f} s")

    def _judge_freshness(self, ages: list[float]) -> None:
        if not ages:
            self.chapter.check(False, "no event reached a replica")
            return
        median, worst = statistics.median(ages), max(ages)
        self.chapter.facts.append(
            f"newest event that a replica answers with: {median:.2f} s old (median), {worst:.2f} s at most, in "
            f"{len(ages)} looks"
        )
        self.chapter.check(median <= FRESH, f"replicas are {median:.1f} s behind the events")

    def _anchor(self, watcher: Watcher) -> None:
        """What was trained so far becomes a version that the gate judges, while training goes on."""
        status = watcher.ended(self.chapter.number, DEADLINE)
        entry = next(each for each in status["history"] if each["number"] == self.chapter.number)
        self.chapter.history, self.chapter.evaluation = entry, (status.get("update") or {}).get("evaluation") or {}
        found = (entry["kind"], entry["phase"])
        self.chapter.check(found == ("Anchor", "Succeeded"), f"update 2 ended {found}: {entry['message']}")
        self.screen.say(f"anchor {entry.get('version')} ended: {entry['phase']}: {entry['message']}", style="bold")

    def _repair(self, watcher: Watcher) -> None:
        """A bit flips in the memory of every pod: each finds and repairs it by itself."""
        with self.screen.step("a bit flips in the memory of every replica"):
            watcher.wait(lambda s: everywhere(s, lambda each: bool(each.get("repaired"))), DEADLINE, "the repair")
        repaired = {each["pod"]: each["repaired"] for each in pods_of(watcher.status)}
        times = sum(repaired.values())
        self.chapter.facts.append(f"memory damaged and repaired: {times} times in {len(repaired)} pods")

    def _rarer_anchors(self, watcher: Watcher) -> None:
        """A changed spec replaces the trainer, which goes on where it was.

        An anchor made in the poisoned stretch would be judged on the rest of it.
        """
        patch = json.dumps({"spec": {"online": {"anchors": {"events": 100_000}}}})
        with self.screen.step("anchors are to be made less often: the trainer is replaced and goes on"):
            self.tools.kubectl("patch", "mu", NAME, "-n", NAMESPACE, "--type=merge", "-p", patch)
            watcher.wait(lambda s: training(s).get("status") != "True", DEADLINE, "the end of the old trainer")
            watcher.wait(lambda s: training(s).get("status") == "True", DEADLINE, "the new trainer")

    def _poison(self, watcher: Watcher, producer: Producer) -> None:
        """What a stretch with inverted labels taught is seen to be worse, and taken back everywhere."""
        reverts = (watcher.status.get("online") or {}).get("reverts", 0)
        began = time.monotonic()
        producer.append(POISONED, poison=True)
        watcher.wait(lambda s: (s.get("online") or {}).get("reverts", 0) > reverts, DEADLINE, "the revert")
        watcher.wait(
            lambda s: everywhere(s, lambda each: each["sequence"].endswith(".0")), DEADLINE, "replicas at the champion"
        )
        took, why = time.monotonic() - began, training(watcher.status).get("message", "")
        self.screen.say(f"taken back: {why}", style="bold")
        self.chapter.facts.append(f"all replicas were back at the champion within {took:.0f} s of the poison: {why}")

    def _count(self, before: dict[str, int], after: dict[str, int]) -> None:
        self.chapter.requests = {name: after[name] - before[name] for name in after if name != "oldAfterNew"}
        for name in ("failed", "mixed"):
            self.chapter.check(self.chapter.requests[name] == 0, f"{self.chapter.requests[name]} requests {name}")


def training(status: Status) -> dict[str, Any]:
    """The condition that tells whether replicas get what is trained."""
    conditions = status.get("conditions") or []
    return next((each for each in conditions if each["type"] == "OnlineTraining"), {})


def pods_of(status: Status) -> list[dict[str, Any]]:
    """What the operator says that each pod answers with."""
    return list((status.get("online") or {}).get("replicas") or [])


def everywhere(status: Status, holds: Callable[[dict[str, Any]], bool]) -> bool:
    """Whether something holds of each pod, and there are some."""
    found = pods_of(status)
    return bool(found) and all(map(holds, found))


@contextlib.contextmanager
def replicas(tools: Tools) -> Iterator[Callable[[], dict[str, Any]]]:
    """Asks every ready pod of the model what it answers with, through the API server."""
    command = [tools.kubectl_path, "proxy", "--port=0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **tools.env})
    try:
        port, base = announced_port(process, "kubectl proxy"), f"/api/v1/namespaces/{NAMESPACE}/pods"
        chosen = f"viridian.dev/model-update={NAME},app.kubernetes.io/component=serving"
        pods = json.loads(tools.kubectl("get", "pods", "-n", NAMESPACE, "-l", chosen, "-o", "json"))["items"]
        names = [pod["metadata"]["name"] for pod in pods]
        asked = {name: f"{base}/{name}:8080/proxy/viridian/v1/identity" for name in names}
        yield lambda: {name: said for name, path in asked.items() if (said := _get(port, path)) is not None}
    finally:
        process.terminate()
        process.wait(10)


def _get(port: int, path: str) -> Any:
    """The answer of the proxy; None if there is none."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return json.loads(answer.read()) if answer.status == 200 else None
    except (OSError, ValueError, http.client.HTTPException):
        return None
    finally:
        connection.close()
