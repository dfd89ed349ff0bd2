"""Deployments of revisions out of their API objects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from viridian_operator.api import names
from viridian_operator.api.serves import read_serves
from viridian_operator.api.status import Colour
from viridian_operator.decide.observation import DeploymentView, MonitorView
from viridian_operator.observe.times import EPOCH, moment


def deployment_view(
    deployment: Mapping[str, Any], config_maps: Mapping[str, Mapping[str, Any]] | None = None
) -> DeploymentView | None:
    """The Deployment of a revision, which its labels and annotations describe; None for any other.

    Parameters
    ----------
    config_maps
        By name; one of them says what pods that take versions should serve.
    """
    meta, spec, status = deployment["metadata"], deployment.get("spec") or {}, deployment.get("status") or {}
    labels, annotations = meta.get("labels") or {}, meta.get("annotations") or {}
    if names.REVISION not in labels:
        return None
    record = annotations.get(names.ANNOTATION_SERVES)
    said = (config_maps or {}).get(record or "")
    serves = read_serves(said) if said else None
    event_time = _number(annotations.get(names.ANNOTATION_EVENT_TIME))
    return DeploymentView(
        name=meta["name"],
        revision=labels[names.REVISION],
        version=serves.version if serves else annotations.get(names.ANNOTATION_VERSION, ""),
        digest=serves.digest if serves else annotations.get(names.ANNOTATION_DIGEST, ""),
        colour=labels.get(names.COLOUR) or Colour.BLUE.value,
        template_hash=annotations.get(names.ANNOTATION_TEMPLATE_HASH, ""),
        replicas=int(spec.get("replicas", 1)),
        created=moment(meta.get("creationTimestamp")) or EPOCH,
        event_time=serves.event_time if serves else event_time,
        failure=_failure(status),
        current=int(status.get("observedGeneration") or 0) >= int(meta.get("generation") or 0),
        swappable=record is not None,
        serves=serves,
        chain=annotations.get(names.ANNOTATION_CHAIN, ""),
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
