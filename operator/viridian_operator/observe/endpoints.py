"""EndpointSlices: which revisions stand behind a Service."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from viridian_operator.api.names import REVISION
from viridian_operator.kube.resources import Manifest

SERVICE_NAME = "kubernetes.io/service-name"


def ready_revisions(service: str, slices: Iterable[Manifest], pods: Iterable[Manifest]) -> tuple[str, ...]:
    """Revision hash of each ready address of a Service, sorted; "" for one that is none of our pods."""
    by_name, by_ip = _revisions(pods)
    found = []
    for endpoint in _ready(service, slices):
        target = endpoint.get("targetRef") or {}
        for address in endpoint.get("addresses") or ():
            known = by_name.get(target.get("name", "")) if target.get("kind") == "Pod" else by_ip.get(address)
            found.append(known or "")
    return tuple(sorted(found))


def _revisions(pods: Iterable[Manifest]) -> tuple[dict[str, str], dict[str, str]]:
    by_name: dict[str, str] = {}
    by_ip: dict[str, str] = {}
    for pod in pods:
        revision = (pod["metadata"].get("labels") or {}).get(REVISION, "")
        by_name[pod["metadata"]["name"]] = revision
        for entry in (pod.get("status") or {}).get("podIPs") or ():
            by_ip[entry.get("ip", "")] = revision
        if ip := (pod.get("status") or {}).get("podIP"):
            by_ip[ip] = revision
    return by_name, by_ip


def _ready(service: str, slices: Iterable[Manifest]) -> Iterator[Mapping[str, Any]]:
    for each in slices:
        if (each["metadata"].get("labels") or {}).get(SERVICE_NAME) != service:
            continue
        for endpoint in each.get("endpoints") or ():
            # an absent condition means ready
            if (endpoint.get("conditions") or {}).get("ready") is not False:
                yield endpoint
