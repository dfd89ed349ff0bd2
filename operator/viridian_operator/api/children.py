"""What child objects say about themselves, read alike by observation and by effects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from viridian_operator.api.names import MANAGED_BY, MANAGER, MODEL_UPDATE

#: Variable of a serving container that names its port; rendered with the revision, so that a changed
#: ``spec.serving.port`` does not move the port of what already serves.
PORT_VARIABLE: Final = "VIRIDIAN_PORT"


#: ``app.kubernetes.io/component`` of the online trainer, and the port of its status and metrics.
ONLINE_TRAINER: Final = "online-trainer"
ONLINE_PORT: Final = 8080


def url_of(ip: str, port: int) -> str:
    """Base URL of what listens on a port of an IPv4 or IPv6 address."""
    return f"http://{f'[{ip}]' if ':' in ip else ip}:{port}"


def is_ours(obj: Mapping[str, Any], name: str, uid: str) -> bool:
    """Whether ``obj`` belongs to the ModelUpdate ``name``: controlled by it, or labelled so and controlled by none."""
    meta = obj.get("metadata") or {}
    controllers = [ref.get("uid") for ref in meta.get("ownerReferences") or () if ref.get("controller")]
    if controllers:
        return controllers == [uid]
    labels = meta.get("labels") or {}
    return bool(labels.get(MANAGED_BY) == MANAGER and labels.get(MODEL_UPDATE) == name)


def serving_port(pod_spec: Mapping[str, Any], default: int) -> int:
    """The port that the first container of a serving pod listens on."""
    containers = pod_spec.get("containers") or [{}]
    for variable in containers[0].get("env") or ():
        if variable.get("name") == PORT_VARIABLE and str(variable.get("value", "")).isdecimal():
            return int(variable["value"])
    return default
