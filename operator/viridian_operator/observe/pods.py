"""Serving pods out of their API objects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from viridian_operator.api.children import serving_port, url_of
from viridian_operator.api.names import REVISION
from viridian_operator.decide.observation import PodView
from viridian_operator.kube.resources import Manifest
from viridian_operator.observe.troubles import trouble_of


def is_serving(pod: Mapping[str, Any]) -> bool:
    """Whether a pod belongs to a revision; pods of Jobs do not."""
    return bool((pod["metadata"].get("labels") or {}).get(REVISION))


def pod_view(pod: Mapping[str, Any]) -> PodView:
    """A serving pod; one that has ended counts as going away, since its ReplicaSet replaces it."""
    meta, status = pod["metadata"], pod.get("status") or {}
    leaving = bool(meta.get("deletionTimestamp")) or status.get("phase") in ("Failed", "Succeeded")
    view = PodView(
        name=meta["name"],
        revision=(meta.get("labels") or {}).get(REVISION, ""),
        ip=status.get("podIP") or "",
        ready=_holds(status, "Ready") and not leaving,
        scheduled=bool((pod.get("spec") or {}).get("nodeName")),
        restarts=sum(int(each.get("restartCount") or 0) for each in status.get("containerStatuses") or ()),
        terminating=leaving,
    )
    found = trouble_of(pod)
    return replace(view, trouble=found[0], message=found[1]) if found else view


def pod_views(pods: Iterable[Manifest]) -> tuple[PodView, ...]:
    """All serving pods, by name."""
    return tuple(sorted((pod_view(pod) for pod in pods if is_serving(pod)), key=lambda view: view.name))


def address_of(pod: Mapping[str, Any], default_port: int) -> str:
    """Base URL of a serving pod; its port is the one that it was rendered with."""
    ip = (pod.get("status") or {}).get("podIP") or ""
    return url_of(ip, serving_port(pod.get("spec") or {}, default_port))


def _holds(status: Mapping[str, Any], condition: str) -> bool:
    return any(
        each.get("type") == condition and each.get("status") == "True" for each in status.get("conditions") or ()
    )
