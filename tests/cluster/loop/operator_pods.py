"""The operator's replicas: who leads, and what they count."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from prometheus_client.parser import text_string_to_metric_families

from loop.forwarding import forwarded
from loop.installing import SYSTEM
from loop.space import Space
from viridian_demo.commands import Tools

_LEASE = "viridian-operator"
SELECTOR = "app.kubernetes.io/name=viridian,app.kubernetes.io/component=operator"
_PORT = 8080

#: (verb, resource, code) → requests
Requests = dict[tuple[str, str, str], float]


def holder(tools: Tools) -> str:
    """Name of the pod that leads; empty if none does."""
    identity: str = tools.get("lease", _LEASE, SYSTEM)["spec"].get("holderIdentity") or ""
    return identity.partition("_")[0]


class Replica:
    """Metrics of one pod."""

    def __init__(self, name: str, port: int) -> None:
        self.name, self._port = name, port

    def memory(self) -> float:
        """Resident bytes."""
        return next(value for name, _, value in self._samples() if name == "process_resident_memory_bytes")

    def requests(self) -> Requests:
        """Requests to the API server so far, without those for the Lease; watches are not counted."""
        found: Requests = {}
        for name, labels, value in self._samples():
            if name == "viridian_api_requests_total" and labels["resource"] != "leases":
                found[labels["verb"], labels["resource"], labels["code"]] = value
        return found

    def _samples(self) -> Iterator[tuple[str, Mapping[str, str], float]]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/metrics", timeout=30) as answer:
            text = answer.read().decode()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                yield sample.name, sample.labels, float(sample.value)


@contextmanager
def replicas(tools: Tools) -> Iterator[list[Replica]]:
    """All running pods of the operator."""
    pods = Space(tools, SYSTEM).list("pods", SELECTOR)
    names = [pod["metadata"]["name"] for pod in pods if not pod["metadata"].get("deletionTimestamp")]
    with ExitStack() as forwards:
        yield [Replica(name, forwards.enter_context(forwarded(tools, SYSTEM, f"pod/{name}", _PORT))) for name in names]
