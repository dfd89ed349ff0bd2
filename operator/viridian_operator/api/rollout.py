"""``spec.rollout``: how a candidate takes over, and when it has to give back."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field

from viridian_operator.api.base import ApiModel
from viridian_operator.api.durations import Duration
from viridian_operator.api.health import HealthCheck
from viridian_operator.api.validation import POSITIVE, at_most, checked, keyed

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
        description="that every check has to pass, in observed intervals",
        json_schema_extra=checked(POSITIVE),
    )
    interval: Duration = Field(
        default=timedelta(seconds=10), description="between two results of a check", json_schema_extra=checked(POSITIVE)
    )
    failure_limit: int = Field(
        default=3, ge=0, le=1000, description="failed results of one check that are still tolerated"
    )
    consecutive_errors: Annotated[int, Field(ge=0, le=1000)] | None = Field(
        default=None,
        description="errors of one check in a row that are still tolerated; one more and the bake is inconclusive "
        "(onInconclusive; Promote waits for the deadline all the same); default: only the deadline ends it",
    )
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


class KeepPrevious(ApiModel):
    """How the revision before the active one is kept, ready for a rollback."""

    model_config = ApiModel.model_config | {"populate_by_name": True}

    replicas: int = Field(default=1, ge=0, le=1000, description="pods kept; 0 keeps none")
    duration: Duration = Field(default=timedelta(days=1), alias="for", description="how long they are kept")


class Rollout(ApiModel):
    """How a candidate takes over."""

    capacity: Capacity = Field(
        default=Capacity.AUTO,
        description="Surge runs both revisions side by side; Auto gives up the previous revision first, and hot swaps "
        "where there is no room for a second one; HotSwap loads a candidate with the same graph, schema and template "
        "into the pods that serve, and rolls out any other like Surge; "
        "Recreate stops what serves before the candidate starts, an outage in every update",
    )
    approval: Approval = Approval()
    preview: Preview = Preview()
    deadlines: RolloutDeadlines = RolloutDeadlines()
    bake: Bake = Bake()
    health_checks: list[HealthCheck] = Field(
        default=[HealthCheck(name="ready", ready_percent=100)],
        max_length=16,
        description="what must hold while the candidate bakes; with none, a ready endpoint is enough",
        json_schema_extra=keyed("name"),
    )
    keep_previous: KeepPrevious = KeepPrevious()
