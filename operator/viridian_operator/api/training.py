"""``spec.training`` and ``spec.evaluation``: the Jobs that make and judge a candidate."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum

from pydantic import ConfigDict, Field

from viridian_operator.api.base import ApiModel, Opaque, Volume
from viridian_operator.api.durations import Duration
from viridian_operator.api.templates import PodTemplate
from viridian_operator.api.validation import POSITIVE, at_most, checked

_TOTAL = at_most(
    "self.running", "self.total", "deadlines.total must not be shorter than deadlines.running: lengthen total"
)
#: no date is so far away that it cannot be written, however many attempts there may be
_LONGEST = timedelta(days=100_000)


class Retries(ApiModel):
    """Separate budgets, since a lost node says nothing about the code."""

    infrastructure: int = Field(
        default=10, ge=0, le=100, description="lost nodes, preemptions, unreachable registry or log"
    )
    code: int = Field(default=2, ge=0, le=20, description="crashes of the trainer")


class Deadlines(ApiModel):
    """Waiting and running begin anew with each attempt and suspension, the total does not."""

    model_config = ConfigDict(json_schema_extra=checked(_TOTAL))

    queued: Duration
    running: Duration
    total: Duration | None = Field(
        default=None,
        description="wall-clock time of all attempts and suspensions together; default: that of as many attempts as "
        "retries allows, each with queued and running",
        json_schema_extra=checked(POSITIVE),
    )

    def over_all(self, retries: Retries) -> timedelta:
        """``total``, or what as many attempts as ``retries`` allows may take: suspensions add nothing to it."""
        attempts = retries.infrastructure + retries.code + 1
        return self.total or min(attempts * (self.queued + self.running), _LONGEST)


class TrainingDeadlines(Deadlines):
    """How long the training Job may wait for capacity, how long one attempt may run, and all of it may take."""

    queued: Duration = Field(
        default=timedelta(hours=1), description="waiting for capacity", json_schema_extra=checked(POSITIVE)
    )
    running: Duration = Field(
        default=timedelta(hours=4), description="one attempt", json_schema_extra=checked(POSITIVE)
    )


class Begin(StrEnum):
    """What a training begins with."""

    FULL = "Full"
    WARM = "Warm"


class Training(ApiModel):
    """The training Job."""

    nodes: int = Field(default=1, ge=1, le=256, description="pods that train together; more than one need torchrun")
    processes_per_node: int = Field(default=1, ge=1, le=64, description="usually the number of GPUs of a pod")
    # without a default: one that a later release adds would count as a change of the spec
    start: Begin | None = Field(
        default=None,
        description="what an update of strategy Periodic begins with: Full (if absent), nothing, and the whole log; "
        "Warm, the champion, and the events after its watermark, mixed with old ones as data.replay says",
    )
    full_retrain_every: int = Field(
        default=50,
        ge=1,
        le=10000,
        description="after n - 1 promoted increments the next update starts from nothing; if that comes to nothing, "
        "increments go on, and after as many of them it is tried again",
    )
    seed: int = Field(default=7, ge=0, le=2**31 - 1, description="of initial weights and of the replay")
    retries: Retries = Retries()
    deadlines: TrainingDeadlines = TrainingDeadlines()
    checkpoint: Volume | None = None
    config: Opaque = Field(default={}, description="hyperparameters, handed to the trainer as they are")
    template: PodTemplate = Field(description="pod template; the first container is the trainer")


class EvaluationDeadlines(Deadlines):
    """How long the evaluation Job may wait for capacity, how long one attempt may run, and all of it may take."""

    queued: Duration = Field(
        default=timedelta(minutes=30), description="waiting for capacity", json_schema_extra=checked(POSITIVE)
    )
    running: Duration = Field(
        default=timedelta(minutes=30), description="one attempt", json_schema_extra=checked(POSITIVE)
    )


class Evaluation(ApiModel):
    """The evaluation Job; without a template it runs the training template."""

    deadlines: EvaluationDeadlines = EvaluationDeadlines()
    template: PodTemplate | None = Field(default=None, description="pod template; default: that of training")
