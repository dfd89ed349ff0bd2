"""What a pass sees: one frozen picture of the cluster, the registry and the event log.

``None`` always means "not looked at" or "cannot be told"; absence is said explicitly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from viridian_operator.api.conditions import Reason
from viridian_operator.api.serves import Serves
from viridian_operator.api.status import CheckResult, Detection, Offsets, Window
from viridian_operator.api.version import ModelRef


@dataclass(frozen=True)
class DeploymentView:
    """A Deployment of one revision."""

    name: str
    revision: str
    version: str
    digest: str
    colour: str
    template_hash: str
    replicas: int
    created: datetime
    event_time: float | None = None
    #: the controller has seen the newest spec
    current: bool = True
    #: why the controller cannot make pods, as a quota or an admission webhook said
    failure: str = ""
    #: its pods take another version without a restart; what they should serve says ``serves`` (None: cannot be read)
    swappable: bool = False
    serves: Serves | None = None
    #: that its pods follow; "" for none
    chain: str = ""


class PodTrouble(StrEnum):
    """Why a pod does not serve, as far as its status tells."""

    UNSCHEDULABLE = "Unschedulable"
    VOLUME_MISSING = "VolumeMissing"
    VOLUME_LOST = "VolumeLost"
    VOLUME_UNBOUND = "VolumeUnbound"
    IMAGE_PULL = "ImagePull"
    INVALID = "PodInvalid"
    OUT_OF_MEMORY = "OutOfMemory"
    DIGEST_MISMATCH = "DigestMismatch"
    BAD_BUNDLE = "BadBundle"
    WARMUP_FAILED = "WarmupFailed"
    VERSION_MISSING = "VersionMissing"
    BAD_CONFIGURATION = "BadConfiguration"
    REGISTRY_UNREACHABLE = "RegistryUnreachable"
    CRASH_LOOP = "CrashLoop"
    INFRASTRUCTURE = "Infrastructure"


class Role(StrEnum):
    """What a version that a pod has loaded is to it."""

    CURRENT = "Current"
    PREVIOUS = "Previous"
    STAGED = "Staged"


@dataclass(frozen=True)
class Resident:
    """A version in the memory of a pod, or on its way there."""

    role: Role
    version: str
    digest: str
    #: loaded, verified and warmed up
    ready: bool
    #: its load has failed; ``trouble`` if the reason is a known one
    failed: bool = False
    trouble: PodTrouble | None = None
    message: str = ""


@dataclass(frozen=True)
class Identity:
    """What a pod says about itself."""

    version: str
    digest: str
    ready: bool
    phase: str = ""
    retired: bool = False
    error: str = ""
    #: None: its image knows no hot swaps
    residents: tuple[Resident, ...] | None = None
    #: of a pod that follows a chain: ``epoch.n``, and the Merkle root of what answers; "" for any other
    sequence: str = ""
    root: str = ""
    #: damages of its memory that it found and repaired
    repaired: int = 0
    #: what the last of them was: Rows, Tensors, Index or Trees, or several; "" before
    damage: str = ""

    def resident(self, digest: str) -> Resident | None:
        """The version with this digest in its memory, the furthest one if there are two."""
        found = [each for each in self.residents or () if each.digest == digest]
        return next((each for each in found if each.ready), found[0] if found else None)

    @property
    def place(self) -> tuple[int, int] | None:
        """Epoch and number of the sequence; None where no chain is followed."""
        epoch, _, n = self.sequence.partition(".")
        return (int(epoch), int(n)) if epoch.isdecimal() and n.isdecimal() else None

    @property
    def staged(self) -> Resident | None:
        """The version that it loads or has loaded beside what it serves."""
        return next((each for each in self.residents or () if each.role is Role.STAGED), None)


@dataclass(frozen=True)
class PodView:
    """A serving pod."""

    name: str
    revision: str
    ip: str
    ready: bool
    scheduled: bool
    restarts: int = 0
    trouble: PodTrouble | None = None
    message: str = ""
    terminating: bool = False
    #: None: not asked, or no answer
    identity: Identity | None = None
    #: None: not asked; text: what was wrong with the golden answers ("" = right)
    golden: str | None = None


@dataclass(frozen=True)
class ServiceView:
    """One of the two Services."""

    name: str
    owned: bool
    #: revision hash it selects; None when it selects none
    revision: str | None
    #: the selector is not one that Viridian wrote
    foreign: bool = False
    #: revision hash that Viridian last made it select, by its own record on the Service
    recorded: str | None = None
    cluster_ip: str = ""
    #: revision hashes of the ready addresses in its EndpointSlices; "" for a pod that is not ours
    endpoints: tuple[str, ...] = ()
    #: digests that answered through the Service; None when not asked or no answer
    answered: tuple[str, ...] | None = None


class Outcome(StrEnum):
    """``CheckResult.outcome``; only Passed lets a bake go on."""

    PASSED = "Passed"
    FAILED = "Failed"
    ERRORED = "Errored"
    INCONCLUSIVE = "Inconclusive"


class JobState(StrEnum):
    """Where a Job stands."""

    SUSPENDED = "Suspended"
    PENDING = "Pending"
    RUNNING = "Running"
    COMPLETE = "Complete"
    FAILED = "Failed"


@dataclass(frozen=True)
class JobView:
    """The Job of one attempt."""

    name: str
    task: str
    number: int
    attempt: int
    state: JobState
    #: window and parent digest recorded at creation
    window: Window | None = None
    parent: str = ""
    exit_code: int | None = None
    #: parsed termination message of the (rank 0) pod
    result: Mapping[str, Any] | None = None
    #: Job condition reason, or the pod's trouble while pending
    reason: str = ""
    message: str = ""
    trouble: PodTrouble | None = None
    #: a disruption (eviction, preemption, node loss) ended it
    disrupted: bool = False
    #: which, as long as a pod is there to tell; of a Job that runs: what is about to end one of its pods
    disruption: Reason | None = None
    started_at: datetime | None = None


@dataclass(frozen=True)
class LogHeads:
    """The present end of the event log."""

    offsets: Offsets
    total: int
    #: first position that is still readable
    earliest: Offsets = field(default_factory=dict)
    #: events removed from the log (trimmed), per partition
    removed: Mapping[str, int] = field(default_factory=dict)
    #: where the newest ``data.maxEvents`` entries begin; asked for while there is no origin and more are there
    newest: Offsets = field(default_factory=dict)


@dataclass(frozen=True)
class DriftView:
    """What the drift monitor says; both empty: nothing, or it was not asked."""

    #: the newest one
    detection: Detection | None = None
    #: why it cannot tell
    error: str = ""


@dataclass(frozen=True)
class MonitorView:
    """The Deployment of the drift monitor."""

    available: bool
    #: why the controller cannot make its pod
    failure: str = ""


@dataclass(frozen=True)
class OnlineReport:
    """What the online trainer says of itself (``GET /viridian/v1/online``)."""

    state: str
    #: where it publishes, and the newest head there, with its Merkle root
    chain: str = ""
    sequence: str = ""
    root: str = ""
    event_time: float | None = None
    lag_events: int = 0
    lag_seconds: float = 0.0
    deltas_per_second: float = 0.0
    reverts: int = 0
    p_value: float | None = None
    metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    #: the anchor that waits for its verdict; None: none, or it is not registered yet
    pending: ModelRef | None = None
    error: str = ""


@dataclass(frozen=True)
class OnlineTrainerView:
    """The Deployment of the online trainer, and its word."""

    chain: str
    #: why it cannot run, as the controller or its pod tell
    failure: str = ""
    #: None: not asked, or no answer
    report: OnlineReport | None = None


@dataclass(frozen=True)
class RegisteredVersion:
    """A version of the registered model, with the tags that Viridian uses."""

    version: str
    digest: str
    update: str = ""
    parent: str = ""
    window: Window | None = None
    trained_to: Offsets = field(default_factory=dict)
    predicted_from: Offsets = field(default_factory=dict)
    event_time: float | None = None
    kind: str = ""
    golden: str = ""
    #: digest of architecture, configuration and schema; "" if the version does not say
    graph: str = ""
    #: verdict and quarantine, as far as they were written
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def model(self) -> ModelRef:
        """The version itself."""
        return ModelRef(version=self.version, digest=self.digest)


@dataclass(frozen=True)
class Registry:
    """What the registry said in this pass; ``error`` set: it did not answer."""

    error: str = ""
    #: what was asked for: ``version:<number>`` or ``update:<uid>/<number>``
    asked: str = ""
    #: the version asked for: by update tag while training, by number otherwise
    version: RegisteredVersion | None = None
    #: asked, and the registry says there is none
    missing: bool = False
    #: aliases as they stand; None: not asked
    aliases: Mapping[str, str] | None = None
    #: largest update number in the tags of this ModelUpdate's versions; None: not asked
    last_number: int | None = None
    #: what ``spec.follow`` names; None if it was not asked for, or names nothing (``unfollowed``)
    followed: RegisteredVersion | None = None
    unfollowed: bool = False
    #: all versions of the model, when retention asks; None: not asked
    everything: tuple[RegisteredVersion, ...] | None = None

    def lacks(self, asked: str) -> bool:
        """Whether the registry was asked for this very thing and said that there is none."""
        return self.missing and self.asked == asked


@dataclass(frozen=True)
class Slot:
    """Leave to train, where the operator bounds how many trainings run at once (``limit`` 0: it does not)."""

    limit: int = 0
    held: bool = False
    #: updates that have waited for longer
    ahead: int = 0

    @property
    def granted(self) -> bool:
        """Whether a training Job may be made."""
        return not self.limit or self.held


@dataclass(frozen=True)
class Observation:
    """Everything that a decision may rest on."""

    name: str
    namespace: str
    uid: str
    generation: int
    #: annotations of the ModelUpdate
    annotations: Mapping[str, str]
    deployments: tuple[DeploymentView, ...] = ()
    pods: tuple[PodView, ...] = ()
    active_service: ServiceView | None = None
    preview_service: ServiceView | None = None
    #: names of existing Services, Deployments that are not ours but stand in our way
    taken: tuple[str, ...] = ()
    jobs: tuple[JobView, ...] = ()
    #: None: no source, or not read; see ``heads_error``
    heads: LogHeads | None = None
    heads_error: str = ""
    drift: DriftView = DriftView()
    monitor: MonitorView | None = None
    online: OnlineTrainerView | None = None
    registry: Registry = Registry()
    #: results of health checks that came in since the last pass; None: none did
    checks: tuple[CheckResult, ...] | None = None
    #: names of health checks that are being asked, whose results will wake a later pass
    checking: frozenset[str] = frozenset()
    slot: Slot = Slot()
    #: golden probe, retire etc. need the pods; False while the network between us is in doubt
    deleting: bool = False

    def pods_of(self, revision: str) -> tuple[PodView, ...]:
        """Live pods of a revision; those that are going away do not count."""
        return tuple(p for p in self.pods if p.revision == revision and not p.terminating)

    def ready_of(self, revision: str) -> int:
        """Ready pods of a revision."""
        return sum(p.ready for p in self.pods_of(revision))

    def deployment_of(self, revision: str) -> DeploymentView | None:
        """The Deployment of a revision."""
        return next((d for d in self.deployments if d.revision == revision), None)

    def job_of(self, task: str, number: int, attempt: int) -> JobView | None:
        """The Job of an attempt."""
        wanted = (task, number, attempt)
        return next((j for j in self.jobs if (j.task, j.number, j.attempt) == wanted), None)
