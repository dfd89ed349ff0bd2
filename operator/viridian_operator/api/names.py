"""Labels, annotations and names of child objects; none of them ever changes."""

from __future__ import annotations

import hashlib
from typing import Final

MANAGER: Final = "viridian"
FIELD_MANAGER: Final = "viridian-operator"

MANAGED_BY: Final = "app.kubernetes.io/managed-by"
COMPONENT: Final = "app.kubernetes.io/component"
MODEL_UPDATE: Final = "viridian.dev/model-update"
REVISION: Final = "viridian.dev/revision"
COLOUR: Final = "viridian.dev/colour"
ROLE: Final = "viridian.dev/role"
UPDATE: Final = "viridian.dev/update"
ATTEMPT: Final = "viridian.dev/attempt"
TASK: Final = "viridian.dev/task"
CHECK: Final = "viridian.dev/check"

ANNOTATION_REQUEST: Final = "viridian.dev/request"
ANNOTATION_ADOPT: Final = "viridian.dev/adopt"
ANNOTATION_VERSION: Final = "viridian.dev/version"
ANNOTATION_DIGEST: Final = "viridian.dev/digest"
ANNOTATION_TEMPLATE_HASH: Final = "viridian.dev/template-hash"
ANNOTATION_EVENT_TIME: Final = "viridian.dev/event-time"
ANNOTATION_WINDOW: Final = "viridian.dev/window"
#: on a Service: the revision that Viridian last made it select, which tells an edit of the selector from an old status
ANNOTATION_SELECTED: Final = "viridian.dev/selected"
#: on a Deployment whose pods take versions: the ConfigMap that says which; on that ConfigMap: graph of the version
ANNOTATION_SERVES: Final = "viridian.dev/serves"
ANNOTATION_GRAPH: Final = "viridian.dev/graph"
#: on what follows a chain of the store: its name
ANNOTATION_CHAIN: Final = "viridian.dev/chain"
ANNOTATION_PARENT: Final = "viridian.dev/parent"

#: Port of both Services.
SERVICE_PORT: Final = 80

#: Name of a ModelUpdate: leaves room for the suffixes below within 63 characters.
NAME_LIMIT: Final = 40


def deployment(name: str, revision: str) -> str:
    """The Deployment of one revision; its ConfigMap and PodDisruptionBudget are named alike."""
    return f"{name}-{revision}"


def serves(deployment: str) -> str:
    """The ConfigMap that says which version the pods of a Deployment serve, where that changes."""
    return f"{deployment}-serves"


def active_service(name: str, wanted: str | None) -> str:
    """The Service that callers use."""
    return wanted or name


def preview_service(name: str, wanted: str | None) -> str:
    """The Service that reaches the candidate before it takes over."""
    return wanted or f"{name}-preview"


def job(name: str, task: str, number: int, attempt: int) -> str:
    """A training or evaluation Job; ``task`` is ``train`` or ``eval``."""
    return f"{name}-{task}-{number}-a{attempt}"


def check_job(name: str, check: str, number: int) -> str:
    """The Job of a health check in the bake of an update; check names are too long for the names of Jobs."""
    return f"{name}-check-{number}-{hashlib.sha256(check.encode()).hexdigest()[:6]}"


def drift_monitor(name: str) -> str:
    """The Deployment of the drift monitor."""
    return f"{name}-drift"


def online_trainer(name: str) -> str:
    """The Deployment of the online trainer."""
    return f"{name}-online"


def admin_secret(name: str) -> str:
    """The Secret with the token of the serving pods' admin calls."""
    return f"{name}-admin"
