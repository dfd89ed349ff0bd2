"""The two Services and what stands behind them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from viridian_operator.api.children import is_ours
from viridian_operator.api.names import ANNOTATION_ADOPT, ANNOTATION_SELECTED, MODEL_UPDATE, REVISION
from viridian_operator.decide.observation import ServiceView
from viridian_operator.kube.resources import Manifest
from viridian_operator.observe.endpoints import ready_revisions


def may_use(service: Mapping[str, Any], name: str, uid: str) -> bool:
    """Whether a Service is ours, or its owner says by annotation that we may take it over."""
    annotations = service["metadata"].get("annotations") or {}
    return is_ours(service, name, uid) or annotations.get(ANNOTATION_ADOPT) == name


def service_view(
    service: Mapping[str, Any], slices: Iterable[Manifest], pods: Iterable[Manifest], *, name: str, uid: str
) -> ServiceView:
    """A Service, what it selects, and the revisions of its ready endpoints."""
    spec = service.get("spec") or {}
    selector = spec.get("selector") or {}
    revision = selector.get(REVISION) if selector.get(MODEL_UPDATE) == name else None
    annotations = service["metadata"].get("annotations") or {}
    cluster_ip = spec.get("clusterIP") or ""
    return ServiceView(
        name=service["metadata"]["name"],
        owned=may_use(service, name, uid),
        revision=revision,
        foreign=bool(selector) and (revision is None or set(selector) != {MODEL_UPDATE, REVISION}),
        recorded=annotations.get(ANNOTATION_SELECTED),
        cluster_ip="" if cluster_ip == "None" else cluster_ip,
        endpoints=ready_revisions(service["metadata"]["name"], slices, pods),
    )


def service_url(service: Mapping[str, Any]) -> str | None:
    """Base URL of a Service by its cluster IP; None if it has none."""
    spec = service.get("spec") or {}
    ip, ports = spec.get("clusterIP") or "", spec.get("ports") or []
    if not ports or ip in ("", "None"):
        return None
    host = f"[{ip}]" if ":" in ip else ip
    return f"http://{host}:{ports[0]['port']}"
