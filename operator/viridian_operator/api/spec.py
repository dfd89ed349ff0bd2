"""``spec`` of a ModelUpdate."""

from __future__ import annotations

from enum import StrEnum

from pydantic import ConfigDict, Field

from viridian_operator.api.base import ApiModel, SecretRef
from viridian_operator.api.data import Data
from viridian_operator.api.durations import Duration
from viridian_operator.api.follow import Follow
from viridian_operator.api.gate import Gate
from viridian_operator.api.online import Online
from viridian_operator.api.rollout import Rollout
from viridian_operator.api.serving import Serving
from viridian_operator.api.training import Evaluation, Training
from viridian_operator.api.trigger import Trigger
from viridian_operator.api.validation import HTTP, NO_CREDENTIALS, POSITIVE, checked, rule

_SAME_MODEL = rule("self == oldSelf", "model.name never changes: create another ModelUpdate for another model")
_MODEL_NAME = rule(
    "!self.contains('/') && !self.contains(':')",
    "MLflow allows neither / nor : in the name of a model: use - instead",
)
_TRAINS = rule(
    "!(self.strategy in ['Incremental', 'Periodic', 'Online']) || (has(self.data) && has(self.training))",
    "strategies Incremental, Periodic and Online train: give data (source of events) and training (what trains)",
)
_PERIODIC = rule(
    "self.strategy != 'Periodic' || (has(self.trigger) && has(self.trigger.schedule))",
    "strategy Periodic needs a schedule, e.g. trigger: {schedule: 0 3 * * *}",
)
_BY_SCHEDULE = rule(
    "self.strategy != 'Periodic' || !has(self.trigger) || !has(self.trigger.newEvents)",
    "strategy Periodic starts by trigger.schedule, watermarkAge and drift: leave trigger.newEvents out, or write "
    "strategy: Incremental",
)
_INCREMENTAL = rule(
    "self.strategy != 'Incremental' || (has(self.trigger)"
    " && (has(self.trigger.newEvents) || has(self.trigger.schedule)"
    " || has(self.trigger.watermarkAge) || has(self.trigger.drift)))",
    "strategy Incremental needs trigger.newEvents, schedule, watermarkAge or drift, e.g. trigger: {newEvents: 20000}",
)
_FOLLOWS = rule(
    "(self.strategy == 'Registry') == has(self.follow)",
    "follow and strategy Registry belong together, e.g. strategy: Registry, follow: {alias: challenger}",
)
_TRAINS_NOTHING = rule(
    "self.strategy != 'Registry' || !has(self.training)",
    "strategy Registry trains nothing: leave training out",
)
_STARTS_NOTHING = rule(
    "self.strategy != 'Registry' || !has(self.trigger)"
    " || (!has(self.trigger.schedule) && !has(self.trigger.newEvents)"
    " && !has(self.trigger.watermarkAge) && !has(self.trigger.drift))",
    "trigger.schedule, newEvents, watermarkAge and drift start trainings, and strategy Registry trains nothing: "
    "leave them out",
)
_JUDGES = rule(
    "self.strategy != 'Registry' || has(self.data) == (has(self.evaluation) && has(self.evaluation.template))",
    "strategy Registry judges what it follows with data and evaluation.template: give both, or neither for no gate",
)
_ONLINE = rule(
    "(self.strategy == 'Online') == has(self.online)",
    "online and strategy Online belong together, e.g. strategy: Online, online: {store: {url: redis://HOST:6379/1}}",
)
_BEGINS = rule(
    "!has(self.training) || !has(self.training.start) || self.strategy == 'Periodic'"
    " || self.training.start == (self.strategy == 'Online' ? 'Full' : 'Warm')",
    "training.start chooses for strategy Periodic: Incremental always starts Warm and Online Full, so leave it out or "
    "write strategy: Periodic",
)
_ALWAYS_TRAINS = rule(
    "self.strategy != 'Online' || !has(self.trigger)"
    " || (!has(self.trigger.newEvents) && !has(self.trigger.watermarkAge) && !has(self.trigger.drift))",
    "trigger.newEvents, watermarkAge and drift start increments, and strategy Online trains on every event at once: "
    "leave them out; trigger.schedule starts full trainings",
)


class Strategy(StrEnum):
    """How candidates come about."""

    PERIODIC = "Periodic"
    INCREMENTAL = "Incremental"
    ONLINE = "Online"
    REGISTRY = "Registry"


class DeletionPolicy(StrEnum):
    """What becomes of what serves when the ModelUpdate is deleted."""

    DELETE = "Delete"
    RETAIN = "Retain"


class AliasDrift(StrEnum):
    """What is done about an alias that somebody else moved."""

    REPORT = "Report"
    RESTORE = "Restore"


class Model(ApiModel):
    """The registered model."""

    name: str = Field(
        min_length=1,
        max_length=200,
        description="in MLflow; never changes",
        json_schema_extra=checked(_MODEL_NAME, _SAME_MODEL),
    )


class Retention(ApiModel):
    """How much of what this ModelUpdate trained stays in the registry."""

    versions: int = Field(
        ge=1,
        le=10_000,
        description="so many of the newest versions stay; older ones are deleted with their runs, unless they serve, "
        "stand by, are named by an alias, judge others, or are in quarantine",
    )


class Registry(ApiModel):
    """The MLflow server."""

    tracking_uri: str = Field(
        alias="trackingURI",
        min_length=1,
        max_length=512,
        pattern="^https?://",
        description="address of the MLflow server, without credentials",
        json_schema_extra=checked(HTTP, NO_CREDENTIALS),
    )
    external_url: str | None = Field(
        default=None,
        alias="externalURL",
        max_length=512,
        pattern="^https?://",
        description="address at which people open the pages of that server, for links in status; default: trackingURI",
        json_schema_extra=checked(HTTP, NO_CREDENTIALS),
    )
    credentials_secret_ref: SecretRef | None = Field(
        default=None,
        description="Secret with MLFLOW_TRACKING_USERNAME and _PASSWORD, or MLFLOW_TRACKING_TOKEN",
    )
    drift_policy: AliasDrift = Field(
        default=AliasDrift.REPORT,
        description="what is done about an alias that somebody else moved: tell it, or move it back; to serve a "
        "version of one's choice, set pin",
    )
    retention: Retention | None = Field(default=None, description="nothing is deleted without it")


class Freshness(ApiModel):
    """How far what serves may fall behind, which is told and never acted upon."""

    max_age: Duration = Field(
        description="age of the newest event that what serves was trained on, after which it is Stale",
        json_schema_extra=checked(POSITIVE),
    )


class Pin(ApiModel):
    """Serve exactly this version, and train nothing, for as long as it is set."""

    version: int = Field(ge=1, description="of the registered model")
    reason: str = Field(min_length=3, max_length=512, description="why, for those who find it later")


class ModelUpdateSpec(ApiModel):
    """One served model and how it is kept fresh."""

    model_config = ConfigDict(
        json_schema_extra=checked(
            _TRAINS,
            _PERIODIC,
            _BY_SCHEDULE,
            _INCREMENTAL,
            _FOLLOWS,
            _TRAINS_NOTHING,
            _STARTS_NOTHING,
            _JUDGES,
            _ONLINE,
            _ALWAYS_TRAINS,
            _BEGINS,
        )
    )

    model: Model
    registry: Registry
    strategy: Strategy = Field(
        default=Strategy.INCREMENTAL,
        description="Periodic trains on a schedule, Incremental also on new events, Online on every event at once; "
        "Registry follows versions trained elsewhere",
    )
    follow: Follow | None = Field(default=None, description="what strategy Registry rolls out")
    trigger: Trigger = Trigger()
    online: Online | None = Field(default=None, description="how strategy Online publishes")
    freshness: Freshness | None = None
    data: Data | None = None
    training: Training | None = None
    evaluation: Evaluation = Evaluation()
    gate: Gate = Gate()
    serving: Serving
    rollout: Rollout = Rollout()
    suspend: bool = Field(default=False, description="no new update starts; what serves goes on serving")
    pin: Pin | None = None
    deletion_policy: DeletionPolicy = Field(
        default=DeletionPolicy.DELETE,
        description="what becomes of what serves when the ModelUpdate is deleted",
    )
