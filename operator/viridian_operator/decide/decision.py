"""What a pass decides: the next status, idempotent effects, when to look again, what to tell."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from viridian_operator.api.conditions import Reason
from viridian_operator.api.status import ModelUpdateStatus, Revision, Update, Window
from viridian_operator.api.version import ModelRef


class Severity(StrEnum):
    """Types of Kubernetes Events."""

    NORMAL = "Normal"
    WARNING = "Warning"


@dataclass(frozen=True)
class Note:
    """An Event on the ModelUpdate, on transitions only."""

    reason: Reason
    message: str
    severity: Severity = Severity.NORMAL


@dataclass(frozen=True)
class EnsureAdminSecret:
    """The Secret with the admin token exists."""


@dataclass(frozen=True)
class EnsureRevision:
    """ConfigMap, Deployment and PodDisruptionBudget of a revision exist with this many replicas.

    The pod template is rendered once, kept in the revision's immutable ConfigMap and taken from
    there ever after, so that neither a changed spec nor a new operator restarts what serves.
    Where pods take versions without a restart, a second ConfigMap says that they serve ``revision``.
    """

    revision: Revision
    role: str
    replicas: int
    #: golden requests that the registry told, of the version with digest ``golden_of``
    golden: str = ""
    golden_of: str = ""
    #: digests whose golden requests are kept, since the pods may be told to serve them next
    standby: tuple[str, ...] = ()


@dataclass(frozen=True)
class EnsureService:
    """A Service selects exactly this revision."""

    name: str
    role: str
    revision: str


@dataclass(frozen=True)
class DeleteRevision:
    """Everything of a revision that nothing refers to any more."""

    deployment: str
    revision: str


@dataclass(frozen=True)
class CreateJob:
    """The Job of one attempt; created once and never applied again."""

    task: str
    update: Update
    window: Window
    parent: ModelRef | None
    candidate: ModelRef | None = None
    reference: ModelRef | None = None
    holdout: Window | None = None
    predicted: Window | None = None


@dataclass(frozen=True)
class CreateCheckJob:
    """The Job of a health check; created once in the bake of an update and never applied again."""

    check: str
    update: Update
    revision: Revision
    previous: Revision | None


@dataclass(frozen=True)
class DeleteJob:
    """A Job that is no longer wanted: its update ended, or its result is in status."""

    name: str


@dataclass(frozen=True)
class EnsureMonitor:
    """The Deployment of the drift monitor exists."""


@dataclass(frozen=True)
class DeleteMonitor:
    """Drift is not watched any more."""


@dataclass(frozen=True)
class EnsureOnlineTrainer:
    """The Deployment of the online trainer exists; it writes ``chain`` and starts from ``parent``."""

    chain: str
    parent: ModelRef


@dataclass(frozen=True)
class DeleteOnlineTrainer:
    """Nothing is trained online any more; what was published serves on."""


@dataclass(frozen=True)
class RevertPods:
    """Pods (IPs) go back to the anchor of their chain: the first is told, and writes it for all into the store; the
    others only if it cannot."""

    pods: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class SetAliases:
    """Registry aliases, written last."""

    wanted: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class TagVersion:
    """A tag on a model version: verdict, quarantine."""

    version: str
    key: str
    value: str


@dataclass(frozen=True)
class DeleteVersion:
    """A version of the registry that retention does not keep, with the run that made it."""

    version: str


@dataclass(frozen=True)
class Retire:
    """Tell the pods of a revision that callers should leave (or may stay)."""

    revision: str
    pods: tuple[str, ...]
    retired: bool


@dataclass(frozen=True)
class StageVersion:
    """Tell pods (IPs) to load the version of ``revision`` beside what they serve."""

    revision: Revision
    pods: tuple[str, ...]


@dataclass(frozen=True)
class FlipPods:
    """Tell pods (IPs) to serve the version of ``revision`` that they have loaded."""

    revision: Revision
    pods: tuple[str, ...]


@dataclass(frozen=True)
class UnstagePods:
    """Tell pods (IPs) to give up what they loaded beside what they serve."""

    pods: tuple[str, ...]


Action = (
    EnsureAdminSecret
    | EnsureRevision
    | EnsureService
    | DeleteRevision
    | CreateJob
    | CreateCheckJob
    | DeleteJob
    | EnsureMonitor
    | DeleteMonitor
    | EnsureOnlineTrainer
    | DeleteOnlineTrainer
    | RevertPods
    | SetAliases
    | TagVersion
    | DeleteVersion
    | Retire
    | StageVersion
    | FlipPods
    | UnstagePods
)


@dataclass(frozen=True)
class Decision:
    """Outcome of a pass; ``actions`` run in order, after ``status`` is written."""

    status: ModelUpdateStatus
    actions: tuple[Action, ...] = ()
    notes: tuple[Note, ...] = ()
    wake_at: datetime | None = None
    #: wake up when the event log holds more than so many events
    wake_at_total: int | None = None
    #: wake up when the followed alias names another version than this ("" for none); None: nothing is followed
    wake_off_version: str | None = None
    #: wake up when the monitor has detected drift another number of times; None: drift is not asked about
    wake_off_drift: int | None = None
    #: names of the invariants that did not hold when this pass looked
    violated: tuple[str, ...] = ()
    #: one line for the log: what was decided and why
    reason: str = ""
