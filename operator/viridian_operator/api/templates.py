"""Schema of pod templates: opaque, but for the fields that are guarded.

CEL sees declared fields only, so exactly those that a rule reads are declared; everything else is kept as it
is. The rules turn mistakes into sentences. They are no security boundary: that is pod admission.
"""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import WithJsonSchema

from viridian_operator.api.base import Opaque
from viridian_operator.api.validation import PRESERVE, RULES, Schema, rule

#: Variables of the contract with training and serving images, which the operator sets. Others that begin with
#: ``VIRIDIAN_`` are settings of the reference images, free for users.
RESERVED: Final = (
    "VIRIDIAN_TASK",
    "VIRIDIAN_UPDATE",
    "VIRIDIAN_WINDOW",
    "VIRIDIAN_FRESH",
    "VIRIDIAN_PARENT",
    "VIRIDIAN_CANDIDATE",
    "VIRIDIAN_REFERENCE",
    "VIRIDIAN_HOLDOUT",
    "VIRIDIAN_PREDICTED",
    "VIRIDIAN_MODEL_NAME",
    "VIRIDIAN_DATA",
    "VIRIDIAN_TRAINING",
    "VIRIDIAN_GATE",
    "VIRIDIAN_CHECKPOINT_DIR",
    "VIRIDIAN_BUNDLE_STORE",
    "VIRIDIAN_PORT",
    "VIRIDIAN_REDIS_USERNAME",
    "VIRIDIAN_REDIS_PASSWORD",
    "VIRIDIAN_DRIFT",
    "VIRIDIAN_ONLINE",
    "VIRIDIAN_CHAIN",
    "VIRIDIAN_CHECK",
    "VIRIDIAN_VERSION",
    "VIRIDIAN_DIGEST",
    "VIRIDIAN_PREVIOUS",
    "VIRIDIAN_ACTIVE_URL",
    "VIRIDIAN_PREVIEW_URL",
)

_RESERVED: Final = rule(
    f"!(self in {list(RESERVED)}) && !self.startsWith('PET_')",
    "the operator sets this variable itself: leave it out of the template's env, "
    "like all of the contract with images and all that begin with PET_",
)
_HOST_PATH: Final = rule(
    "!has(self.hostPath)",
    "hostPath volumes are not allowed in templates: use persistentVolumeClaim, emptyDir, configMap or secret",
)
_HOST_NAMESPACES: Final = rule(
    "!(has(self.hostNetwork) && self.hostNetwork) && !(has(self.hostPID) && self.hostPID)"
    " && !(has(self.hostIPC) && self.hostIPC)",
    "hostNetwork, hostPID and hostIPC are not allowed in templates: leave them out",
)
_PRIVILEGED: Final = rule(
    "!(has(self.privileged) && self.privileged)",
    "privileged containers are not allowed in templates: leave securityContext.privileged out",
)
_HOST_PORT: Final = rule(
    "!has(self.hostPort)",
    "hostPort is not allowed in templates: leave it out, Services reach pods by containerPort",
)
_CONTAINER: Final = rule(
    "has(self.spec) && has(self.spec.containers) && self.spec.containers.size() > 0",
    "the template needs at least one container: give spec.containers[0] a name and an image",
)
_IMAGE: Final = rule(
    "has(self.image) && self.image != ''",
    "the container needs an image, e.g. image: registry.example.com/trainer:1.4.0",
)


def _open(properties: Schema, *rules: Schema) -> Schema:
    """An object whose other fields are kept as they are."""
    schema: Schema = {"type": "object", PRESERVE: True, "properties": properties}
    return schema | ({RULES: list(rules)} if rules else {})


def _named(items: Schema, limit: int) -> Schema:
    """A list whose items are told apart by ``name``."""
    return {
        "type": "array",
        "maxItems": limit,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name"],
        "items": items | {"required": ["name"]},
    }


def _name(limit: int, *rules: Schema) -> Schema:
    schema: Schema = {"type": "string", "minLength": 1, "maxLength": limit}
    return schema | ({RULES: list(rules)} if rules else {})


def _containers(limit: int, variables: int) -> Schema:
    port = _open({"hostPort": {"type": "integer"}}, _HOST_PORT)
    container = _open(
        {
            "name": _name(63),
            "image": {"type": "string", "maxLength": 1024},
            "env": _named(_open({"name": _name(256, _RESERVED)}), variables),
            "ports": {"type": "array", "maxItems": 32, "items": port},
            "securityContext": _open({"privileged": {"type": "boolean"}}, _PRIVILEGED),
        },
        _IMAGE,
    )
    return _named(container, limit)


def pod_template(*, containers: int = 16, variables: int = 256, volumes: int = 64) -> Schema:
    """Schema of a pod template with at most so many containers, variables in each, and volumes."""
    spec = _open(
        {
            "hostNetwork": {"type": "boolean"},
            "hostPID": {"type": "boolean"},
            "hostIPC": {"type": "boolean"},
            "volumes": _named(_open({"name": _name(63), "hostPath": _open({})}, _HOST_PATH), volumes),
            "initContainers": _containers(containers, variables),
            "containers": _containers(containers, variables),
        },
        _HOST_NAMESPACES,
    )
    return _open({"metadata": _open({}), "spec": spec}, _CONTAINER)


#: A pod template that Viridian passes on; the first container is the one that keeps the contract.
PodTemplate = Annotated[Opaque, WithJsonSchema(pod_template())]
