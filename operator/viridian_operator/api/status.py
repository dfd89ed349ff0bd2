"""``status`` of a ModelUpdate: everything that cannot be observed again."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import Field

from viridian_operator.api.base import ApiModel, Time
from viridian_operator.api.online_status import OnlineStatus
from viridian_operator.api.version import ModelRef, Numbers

HISTORY_LIMIT = 20
QUARANTINE_LIMIT = 100
OWED_LIMIT = 50
GAPS_LIMIT = 20

#: Positions per partition; opaque to everything but the source that made them.
Offsets = dict[str, str]


class Phase(StrEnum):
    """Where a ModelUpdate stands; ``Idle`` between updates."""

    IDLE = "Idle"
    QUEUED = "Queued"
    TRAINING = "Training"
    EVALUATING = "Evaluating"
    PREPARING = "Preparing"
    VERIFYING = "Verifying"
    AWAITING_APPROVAL = "AwaitingApproval"
    SCALING = "Scaling"
    SWITCHING = "Switching"
    BAKING = "Baking"
    ROLLING_BACK = "RollingBack"
    SUCCEEDED = "Succeeded"
    REJECTED = "Rejected"
    ROLLED_BACK = "RolledBack"
    FAILED = "Failed"
    ABORTED = "Aborted"
    SUPERSEDED = "Superseded"


TERMINAL = frozenset(
    {Phase.SUCCEEDED, Phase.REJECTED, Phase.ROLLED_BACK, Phase.FAILED, Phase.ABORTED, Phase.SUPERSEDED}
)


class Kind(StrEnum):
    """What an update does."""

    FULL = "Full"
    INCREMENTAL = "Incremental"
    REDEPLOY = "Redeploy"
    PIN = "Pin"
    ROLLBACK = "Rollback"
    FOLLOW = "Follow"
    ANCHOR = "Anchor"


#: Kinds that train a new version; the others roll out one that exists.
TRAINS = frozenset({Kind.FULL, Kind.INCREMENTAL})
#: Kinds whose version becomes champion, if it passes everything.
CONTENDS = TRAINS | {Kind.FOLLOW, Kind.ANCHOR}


class Colour(StrEnum):
    """Alternating label of revisions, for people."""

    BLUE = "blue"
    GREEN = "green"

    @property
    def other(self) -> Colour:
        """The colour of the next revision."""
        return Colour.GREEN if self is Colour.BLUE else Colour.BLUE


class Revision(ApiModel):
    """What one Deployment runs: a version, its digest and a serving template."""

    version: str
    digest: str
    hash: str = Field(description="of version, digest and template; of template and first update if it takes versions")
    template_hash: str = ""
    graph: str = Field(default="", description="digest of the version's architecture, configuration and schema")
    swappable: bool = Field(default=False, description="its pods take another version without a restart")
    chain: str = Field(default="", description="that its pods follow in the store (strategy Online)")
    deployment: str
    colour: Colour
    event_time: float | None = None
    since: Time | None = None
    until: Time | None = Field(default=None, description="when a previous revision is removed")

    @property
    def model(self) -> ModelRef:
        """The version that this revision serves."""
        return ModelRef(version=self.version, digest=self.digest)


class Window(ApiModel):
    """The events between two positions of every partition."""

    model_config = ApiModel.model_config | {"populate_by_name": True}

    start: Offsets = Field(alias="from")
    end: Offsets = Field(alias="to")


class Gap(ApiModel):
    """Events that a person gave up: no update of this lineage trains on them."""

    start: Offsets = Field(alias="from", description="of the partitions that it concerns")
    end: Offsets = Field(alias="to")
    events: int
    reason: str
    at: Time


class Trigger(ApiModel):
    """Why an update started."""

    kind: str
    detail: str = ""
    at: Time


class Candidate(ApiModel):
    """The version under test, as the trainer reported and the registry confirmed it."""

    version: str
    digest: str
    event_time: float | None = None
    trained_to: Offsets = {}
    predicted_from: Offsets | None = Field(
        default=None, description="up to trainedTo, events were predicted before they were trained on"
    )
    holdout: Window | None = None
    run_id: str | None = Field(default=None, alias="runID")
    events: dict[str, int] = {}
    graph: str = Field(default="", description="digest of its architecture, configuration and schema, if known")

    @property
    def model(self) -> ModelRef:
        """The version itself."""
        return ModelRef(version=self.version, digest=self.digest)


class Evaluation(ApiModel):
    """Summary of the verdict; the evidence is an artifact of the run."""

    verdict: str
    reason: str
    message: str = ""
    metrics: dict[str, dict[str, float]] = {}
    difference: Numbers = {}
    tail: Numbers = Field(default={}, description="difference of the final weights, with split Prequential")
    events: int = 0
    users: int = 0
    failed: list[str] = []
    run_id: str | None = Field(default=None, alias="runID")
    report: str = Field(default="", description="where people read how it came about")
    overridden_by: str | None = Field(default=None, description="request of a person that let it through all the same")


class Attempts(ApiModel):
    """Jobs made for the present step and the failures behind them."""

    number: int = 1
    infrastructure: int = 0
    code: int = 0
    seen: bool = Field(default=False, description="the Job of this attempt was seen, so it is never created again")
    judging: bool = Field(default=False, description="the evaluation Job of this attempt was seen to run")
    disruption: str = Field(default="", description="why a pod was evicted or lost, kept as that pod is soon gone")


class Intent(ApiModel):
    """A traffic switch that was decided, written before the Service changes."""

    id: str
    source: str | None = Field(default=None, alias="from", description="revision hash; digest in a hot swap")
    target: str = Field(alias="to", description="revision hash; digest in a hot swap")
    deadline: Time


class CheckCounts(ApiModel):
    """Results of one check so far in a bake."""

    passed: int = 0
    failed: int = 0
    errored: int = 0
    inconclusive: int = 0
    consecutive_errors: int = Field(default=0, description="up to the last result")
    passed_seconds: float = Field(default=0, description="observed passing intervals together")


class CheckResult(ApiModel):
    """The last result of a health check, with counts of all before."""

    name: str
    outcome: str = Field(description="Passed, Failed, Errored or Inconclusive")
    value: float | None = None
    previous_value: float | None = Field(default=None, description="the same of the previous revision")
    samples: float | None = Field(default=None, description="answers or events behind the value")
    message: str = ""
    checked_at: Time | None = Field(default=None, description="when the check began")
    counts: CheckCounts = CheckCounts()


class Bake(ApiModel):
    """Progress of a bake; only observed passing intervals count."""

    started_at: Time
    deadline: Time
    checked_at: Time | None = Field(default=None, description="last result")
    passed_seconds: float = Field(default=0, description="of the check that passed for the shortest time")
    results: list[CheckResult] = []
    restarts: int = Field(default=0, description="container restarts when the bake began")

    def result_of(self, check: str) -> CheckResult | None:
        """The last result of a check."""
        return next((result for result in self.results if result.name == check), None)


class PhaseRecord(ApiModel):
    """How long a finished phase took."""

    phase: Phase
    started_at: Time
    seconds: float


class Update(ApiModel):
    """The update under way, or the last one."""

    number: int
    kind: Kind
    trigger: Trigger
    phase: Phase
    started_at: Time
    phase_since: Time
    deadline: Time | None = Field(default=None, description="end of the present phase")
    total_deadline: Time | None = Field(
        default=None, description="end of training or of evaluation, whatever attempts and suspensions there are"
    )
    window: Window | None = None
    fresh: Offsets | None = Field(default=None, description="where events begin that the champion has not trained on")
    total: int | None = Field(default=None, description="events ever appended to the log up to the window's end")
    parent: ModelRef | None = None
    capacity: str = Field(default="", description="rollout.capacity when it started")
    hot_swap: bool = Field(default=False, description="the pods that serve load the candidate beside what they serve")
    room: str = Field(default="", description="why it is hot swapped, or is not although rollout.capacity is HotSwap")
    split: str = Field(default="", description="gate.split when it started")
    outage_seconds: float | None = Field(default=None, description="Recreate: longest time without an endpoint")
    attempts: Attempts = Attempts()
    events: dict[str, int] = Field(default={}, description="counts of a training that failed for its data")
    candidate: Candidate | None = None
    evaluation: Evaluation | None = None
    green: Revision | None = None
    replicas: int | None = Field(default=None, description="full size of green, fixed when it is scaled")
    standby: int | None = Field(default=None, description="size that blue had before the switch, kept for a rollback")
    restarts: int | None = Field(default=None, description="container restarts when a hot swap began")
    intent: Intent | None = None
    bake: Bake | None = None
    approved_by: str | None = None
    reason: str = ""
    message: str = ""
    quarantine: bool = Field(default=False, description="the cause of a rollback lies in the revision")
    finished_at: Time | None = None
    phases: list[PhaseRecord] = []

    @property
    def running(self) -> bool:
        """Whether it still has something to do."""
        return self.phase not in TERMINAL


class HistoryEntry(ApiModel):
    """A finished update."""

    number: int
    kind: Kind
    phase: Phase
    reason: str
    message: str = ""
    trigger: str
    version: str | None = None
    digest: str | None = None
    verdict: str | None = None
    report: str = Field(default="", description="where people read how the verdict came about")
    difference: dict[str, float] = {}
    events: dict[str, int] = {}
    started_at: Time
    finished_at: Time
    phases: list[PhaseRecord] = []


class Quarantined(ApiModel):
    """A digest that is never served again, unless a person takes it off the list."""

    digest: str
    version: str
    reason: str
    update: int
    at: Time


class Champion(ApiModel):
    """The last version that passed everything; the next window starts at its watermark."""

    version: str
    digest: str
    watermark: Offsets = {}
    event_time: float | None = None
    total: int | None = None

    @property
    def model(self) -> ModelRef:
        """The version itself."""
        return ModelRef(version=self.version, digest=self.digest)


class Detection(ApiModel):
    """A rise of the loss of what serves, as the drift monitor found it."""

    number: int = Field(description="of the detections of this ModelUpdate's monitor, from 1 on")
    event_time: float = Field(description="of the event at which it was noticed")
    before: float = Field(description="mean log loss before the rise")
    after: float = Field(description="mean log loss since the rise")
    events: int = Field(description="events since the rise, as far as they were needed to notice it")
    version: str = Field(description="which answered the last of them")


class Followed(ApiModel):
    """The version that ``spec.follow`` names, and what was at the log's end when it was first seen."""

    version: str
    digest: str
    since: Time
    offsets: Offsets = Field(default={}, description="events behind these cannot have been trained on")
    given_up: str = Field(default="", description="why it is not tried again")

    @property
    def model(self) -> ModelRef:
        """The version itself."""
        return ModelRef(version=self.version, digest=self.digest)


class Backoff(ApiModel):
    """Why the next update waits after ones that came to nothing."""

    failures: int = 0
    looks: int = Field(default=0, description="inconclusive verdicts since the window was first tried")
    until: Time | None = None
    attempted_total: int | None = Field(default=None, description="events in the log at the last attempt's window end")
    attempted: Offsets = Field(default={}, description="window end of the last attempt, if that came to nothing")


class Request(ApiModel):
    """The last request that was answered."""

    text: str
    outcome: str = Field(description="Accepted or Refused")
    message: str = ""
    at: Time


class OwedTag(ApiModel):
    """A tag that the registry does not have yet, as far as is known."""

    version: str
    key: str
    value: str


class Aliases(ApiModel):
    """Registry aliases as they should be, and whether the registry is known to agree."""

    wanted: dict[str, str] = {}
    confirmed: bool = False
    foreign: dict[str, str] = Field(default={}, description="aliases that somebody else moved, and where to")


class Condition(ApiModel):
    """``metav1.Condition``."""

    type: str
    status: str
    observed_generation: int
    last_transition_time: Time
    reason: str
    message: str = ""


class ModelUpdateStatus(ApiModel):
    """What the operator knows and cannot observe again."""

    observed_generation: int = -1
    conditions: list[Condition] = []
    phase: Phase = Phase.IDLE
    message: str = ""
    fresh_at: Time | None = Field(default=None, description="newest event that what serves was trained on")
    active: Revision | None = None
    preview: Revision | None = None
    previous: Revision | None = None
    champion: Champion | None = None
    previous_champion: Champion | None = Field(default=None, description="what a rollback goes back to")
    reference: ModelRef | None = Field(
        default=None, description="last anchor, which candidates must not fall behind either"
    )
    since_full: int = Field(
        default=0, description="incremental updates promoted since a full one was, or came to nothing"
    )
    update: Update | None = None
    pending_trigger: Trigger | None = None
    backoff: Backoff = Backoff()
    followed: Followed | None = None
    online: OnlineStatus | None = None
    drift: Detection | None = Field(default=None, description="the last detection that an update answered")
    next_scheduled: Time | None = None
    origin: Offsets = Field(default={}, description="where the first window of every lineage begins")
    gaps: list[Gap] = Field(default=[], description="windows that were skipped by request")
    seen: dict[str, str] = Field(default={}, description="hashes of the parts of the spec that were acted upon")
    recovering: str | None = Field(default=None, description="version found serving while status was lost")
    failed_revision: str | None = Field(default=None, description="revision hash that a Redeploy failed with")
    aliases: Aliases = Aliases()
    swept: str = Field(default="", description="update and retention after which the registry was last cleaned up")
    owed_tags: list[OwedTag] = Field(default=[], description="verdicts and quarantines that the registry must hear of")
    quarantine: list[Quarantined] = []
    last_request: Request | None = None
    history: list[HistoryEntry] = []
    replicas: int = 0
    selector: str = ""

    def quarantined(self, digest: str) -> Quarantined | None:
        """The entry of the quarantine list for ``digest``."""
        return next((entry for entry in self.quarantine if entry.digest == digest), None)


def read_status(raw: dict[str, Any] | None) -> ModelUpdateStatus:
    """Status as the API server holds it; an absent one reads as the default."""
    return ModelUpdateStatus.model_validate(raw or {})
