"""``spec.trigger``: what starts an update."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field, WithJsonSchema

from viridian_operator.api.base import ApiModel, Opaque
from viridian_operator.api.durations import Duration
from viridian_operator.api.templates import pod_template
from viridian_operator.api.validation import POSITIVE, checked, rule

_CRON = rule(
    "self.matches('^ *[^ ]+( +[^ ]+){4} *$')",
    "a schedule has five fields: minute, hour, day of month, month, day of week, e.g. */15 * * * *",
)
_JITTER = rule(
    "!has(self.jitter) || has(self.schedule)",
    "jitter spreads scheduled updates: give trigger.schedule, or leave jitter out",
)


_MonitorTemplate = Annotated[Opaque, WithJsonSchema(pod_template(containers=4, variables=64, volumes=16))]


class Concurrency(StrEnum):
    """What a schedule or a changed spec does while an update is under way."""

    FORBID = "Forbid"
    REPLACE = "Replace"
    QUEUE_LATEST = "QueueLatest"


class Drift(ApiModel):
    """A rise of the loss of what serves, noticed by a monitor that follows the event log."""

    delta: float = Field(
        default=0.03, ge=1e-9, le=0.5, description="of ADWIN: the smaller, the fewer false alarms and the later"
    )
    template: _MonitorTemplate = Field(
        description="pod template of the monitor; the first container runs the trainer image, which needs no GPU for it"
    )


class Trigger(ApiModel):
    """What starts an update."""

    model_config = ConfigDict(json_schema_extra=checked(_JITTER))

    schedule: str | None = Field(
        default=None, max_length=100, description="cron, five fields", json_schema_extra=checked(_CRON)
    )
    time_zone: str = Field(default="UTC", max_length=64, description="IANA name, e.g. Europe/Berlin")
    jitter: Duration | None = Field(
        default=None,
        description="scheduled updates start up to so much later, each ModelUpdate always by the same part of it, so "
        "that many with one schedule do not start at once; at most 1d",
    )
    new_events: int | None = Field(
        default=None, ge=1, description="so many events after the last attempt start an update"
    )
    watermark_age: Duration | None = Field(
        default=None,
        description="an update starts when the newest event that the champion was trained on is older than that, if "
        "there is at least one new event; at most one in that time",
        json_schema_extra=checked(POSITIVE),
    )
    drift: Drift | None = Field(default=None, description="an update starts when what serves has become worse")
    on_spec_change: bool = Field(default=False, description="a changed training, data or gate starts an update")
    concurrency: Concurrency = Field(
        default=Concurrency.QUEUE_LATEST,
        description="what a schedule or a changed spec does while an update is under way: Forbid, nothing; Replace, it "
        "takes the update's place, before it is rolled out; QueueLatest, the newest waits until it has ended",
    )
