"""``spec.rollout``: how a candidate takes over, and when it has to give back."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field

from viridian_operator.api.base import ApiModel, Opaque
from viridian_operator.api.durations import Duration
from viridian_operator.api.validation import HTTP, POSITIVE, at_most, checked, keyed, rule

_BAKE_INTERVAL = at_most(
    "self.interval",
    "self.duration",
    "bake.interval must not be longer than bake.duration: shorten the interval",
)
_BAKE_DEADLINE = at_most(
    "self.duration",
    "self.deadline",
    "bake.deadline must not be shorter than bake.duration: lengthen the deadline",
)
_ONE_KIND = rule(
    "[has(self.readyPercent), has(self.maxRestarts), has(self.golden), has(self.probe), has(self.prometheus)]"
    ".filter(given, given).size() == 1",
    "give a health check one kind beside its name: readyPercent, maxRestarts, golden, probe or prometheus",
)
_GOLDEN = rule("self", "golden can only be true: remove the health check instead")
_LIMITS = rule("has(self.max) || has(self.min)", "a Prometheus check needs a limit: give max, min or both")
_RANGE = rule("!has(self.max) || !has(self.min) || self.min <= self.max", "min must not be above max")
_SAMPLES = rule(
    "!has(self.samplesQuery) || has(self.minSamples)",
    "samplesQuery counts the samples that minSamples asks for: give minSamples, e.g. minSamples: 200",
)
_OPEN_URL = rule(
    "!self.matches('^[^/]*//[^/]*@')",
    "credentials never stand in a URL: give the address of a Prometheus that may be read without them",
)
_CHECK_NAME = rule(
    "self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",
    "not a name of a health check: write lower-case letters, digits and hyphens, e.g. error-rate",
)


class Capacity(StrEnum):
    """Where the second revision finds room."""

    SURGE = "Surge"
    RECREATE = "Recreate"
    HOT_SWAP = "HotSwap"
    AUTO = "Auto"


class ApprovalMode(StrEnum):
    """Who decides that a verified candidate takes over."""

    AUTOMATIC = "Automatic"
    MANUAL = "Manual"


class OnExpiry(StrEnum):
    """What happens when nobody answered in time."""

    REJECT = "Reject"
    APPROVE = "Approve"


class Approval(ApiModel):
    """Approval by a person, with an end."""

    mode: ApprovalMode = Field(
        default=ApprovalMode.AUTOMATIC, description="Manual: a verified candidate waits for a person"
    )
    expires_after: Duration = Field(
        default=timedelta(days=1), description="how long it waits", json_schema_extra=checked(POSITIVE)
    )
    on_expiry: OnExpiry = Field(default=OnExpiry.REJECT, description="what happens when nobody answered in time")


class Preview(ApiModel):
    """Size of the candidate before it takes over."""

    replicas: int = Field(default=1, ge=1, le=1000, description="pods that are verified before the full size starts")


class RolloutDeadlines(ApiModel):
    """Limits of the phases between the gate and the bake."""

    schedule: Duration = Field(
        default=timedelta(minutes=5), description="pods find a node", json_schema_extra=checked(POSITIVE)
    )
    load: Duration = Field(
        default=timedelta(minutes=30), description="pods become ready", json_schema_extra=checked(POSITIVE)
    )
    verify: Duration = Field(
        default=timedelta(minutes=2),
        description="every endpoint proves itself",
        json_schema_extra=checked(POSITIVE),
    )
    switch: Duration = Field(
        default=timedelta(minutes=1), description="all traffic has moved", json_schema_extra=checked(POSITIVE)
    )


class BakeInconclusive(StrEnum):
    """What a bake without enough passing intervals leads to."""

    ROLL_BACK = "RollBack"
    PROMOTE = "Promote"
    HOLD = "Hold"


class Bake(ApiModel):
    """Watching the new revision under full traffic, before the old one goes."""

    model_config = ConfigDict(json_schema_extra=checked(_BAKE_INTERVAL, _BAKE_DEADLINE))

    duration: Duration = Field(
        default=timedelta(minutes=10),
        description="of observed passing intervals",
        json_schema_extra=checked(POSITIVE),
    )
    interval: Duration = Field(
        default=timedelta(seconds=10), description="between two checks", json_schema_extra=checked(POSITIVE)
    )
    failure_limit: int = Field(default=3, ge=0, le=1000, description="failed checks that are still tolerated")
    deadline: Duration | None = Field(
        default=None, description="default: three times the duration, at least a minute more"
    )
    on_inconclusive: BakeInconclusive = Field(
        default=BakeInconclusive.ROLL_BACK,
        description="what a deadline without enough passing intervals leads to",
    )
    hold_max: Duration = Field(
        default=timedelta(hours=1), description="longest Hold", json_schema_extra=checked(POSITIVE)
    )


class Expect(ApiModel):
    """What an answer must look like."""

    status: int = Field(default=200, ge=100, le=599, description="HTTP status")
    body_contains: str | None = Field(default=None, max_length=1024, description="text in the answer")


class Probe(ApiModel):
    """A request that every endpoint of the new revision must answer."""

    path: str = Field(
        min_length=1,
        max_length=512,
        pattern="^/",
        description="on the serving port",
        json_schema_extra=checked(rule("self.startsWith('/')", "a path begins with /, e.g. /v2/health/ready")),
    )
    body: Opaque | None = Field(default=None, description="JSON sent by POST; without it the request is a GET")
    expect: Expect = Expect()


class Prometheus(ApiModel):
    """A query with limits on its value; no data is inconclusive, never a pass."""

    model_config = ConfigDict(json_schema_extra=checked(_LIMITS, _RANGE, _SAMPLES))

    url: str = Field(
        min_length=1,
        max_length=512,
        description="of the Prometheus server, without credentials",
        json_schema_extra=checked(HTTP, _OPEN_URL),
    )
    query: str = Field(
        min_length=1,
        max_length=4096,
        description="may use {{namespace}}, {{name}}, {{version}} and {{revision}}",
    )
    max: float | None = Field(default=None, description="largest value that passes")
    min: float | None = Field(default=None, description="smallest value that passes")
    min_samples: float | None = Field(default=None, ge=0, description="with fewer the check is inconclusive")
    samples_query: str | None = Field(default=None, max_length=4096, description="number of samples behind the value")


class HealthCheck(ApiModel):
    """One named check; exactly one of the kinds."""

    model_config = ConfigDict(json_schema_extra=checked(_ONE_KIND))

    name: str = Field(
        min_length=1,
        max_length=63,
        pattern="^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
        description="shown in status and events",
        json_schema_extra=checked(_CHECK_NAME),
    )
    ready_percent: Annotated[int, Field(ge=1, le=100)] | None = Field(
        default=None, description="least share of ready pods"
    )
    max_restarts: Annotated[int, Field(ge=0, le=1000)] | None = Field(
        default=None, description="most container restarts since the bake began"
    )
    golden: bool | None = Field(
        default=None,
        description="golden requests of the bundle, answered within tolerance; needs serving.identity Digest",
        json_schema_extra=checked(_GOLDEN),
    )
    probe: Probe | None = None
    prometheus: Prometheus | None = None


class KeepPrevious(ApiModel):
    """How the revision before the active one is kept, ready for a rollback."""

    model_config = ApiModel.model_config | {"populate_by_name": True}

    replicas: int = Field(default=1, ge=0, le=1000, description="pods kept; 0 keeps none")
    duration: Duration = Field(default=timedelta(days=1), alias="for", description="how long they are kept")


class Rollout(ApiModel):
    """How a candidate takes over."""

    capacity: Capacity = Field(
        default=Capacity.AUTO,
        description="Surge runs both revisions side by side; Auto gives up the previous revision first; "
        "Recreate stops what serves before the candidate starts, an outage in every update; "
        "HotSwap is not supported yet (Stalled, InvalidSpec)",
    )
    approval: Approval = Approval()
    preview: Preview = Preview()
    deadlines: RolloutDeadlines = RolloutDeadlines()
    bake: Bake = Bake()
    health_checks: list[HealthCheck] = Field(
        default=[HealthCheck(name="ready", ready_percent=100)],
        max_length=16,
        description="what must hold while the candidate is verified and baked",
        json_schema_extra=keyed("name"),
    )
    keep_previous: KeepPrevious = KeepPrevious()
