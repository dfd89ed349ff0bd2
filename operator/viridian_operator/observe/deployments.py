"""Deployments of revisions out of their API objects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from viridian_operator.api import names
from viridian_operator.api.status import Colour
from viridian_operator.decide.observation import DeploymentView, MonitorView
from viridian_operator.observe.times import EPOCH, moment


def deployment_view(deployment: Mapping[str, Any]) -> DeploymentView | None:
    """The Deployment of a revision, which its labels and annotations describe; None for any other."""
    meta, spec, status = deployment["metadata"], deployment.get("spec") or {}, deployment.get("status") or {}
    labels, annotations = meta.get("labels") or {}, meta.get("annotations") or {}
    if names.REVISION not in labels:
        return None
    return DeploymentView(
        name=meta["name"],
        revision=labels[names.REVISION],
        version=annotations.get(names.ANNOTATION_VERSION, ""),
        digest=annotations.get(names.ANNOTATION_DIGEST, ""),
        colour=labels.get(names.COLOUR) or Colour.BLUE.value,
        template_hash=annotations.get(names.ANNOTATION_TEMPLATE_HASH, ""),
        replicas=int(spec.get("replicas", 1)),
        created=moment(meta.get("creationTimestamp")) or EPOCH,
        event_time=_number(annotations.get(names.ANNOTATION_EVENT_TIME)),
        failure=_failure(status),
        current=int(status.get("observedGeneration") or 0) >= int(meta.get("generation") or 0),
    )


def monitor_view(deployment: Mapping[str, Any]) -> MonitorView:
    """The Deployment of the drift monitor."""
    status = deployment.get("status") or {}
    return MonitorView(available=int(status.get("availableReplicas") or 0) > 0, failure=_failure(status))


def _failure(status: Mapping[str, Any]) -> str:
    conditions = status.get("conditions") or []
    found = next((c for c in conditions if c.get("type") == "ReplicaFailure" and c.get("status") == "True"), None)
    return str(found.get("message") or found.get("reason") or "pods cannot be created") if found else ""


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None
