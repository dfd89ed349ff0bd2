"""``spec.rollout.healthChecks``: what must hold while a candidate bakes."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any

from pydantic import ConfigDict, Field, WithJsonSchema

from viridian_operator.api.base import ApiModel, Opaque
from viridian_operator.api.durations import Duration
from viridian_operator.api.templates import pod_template
from viridian_operator.api.validation import HTTP, POSITIVE, checked, rule

_KINDS = ("readyPercent", "maxRestarts", "golden", "probe", "latency", "prometheus", "job")
_ONE_KIND = rule(
    f"[{', '.join(f'has(self.{kind})' for kind in _KINDS)}].filter(given, given).size() == 1",
    f"give a health check one kind beside its name: {', '.join(_KINDS[:-1])} or {_KINDS[-1]}",
)
_JOB_ONCE = rule(
    "!has(self.job) || !(has(self.interval) || has(self.failureLimit) || has(self.consecutiveErrors))",
    "a job runs once in a bake and its end decides: leave interval, failureLimit and consecutiveErrors out",
)
_GOLDEN = rule("self", "golden can only be true: remove the health check instead")
_LIMITS = rule(
    "has(self.max) || has(self.min) || has(self.maxRatio)",
    "a Prometheus check needs a limit: give max, min, maxRatio (to the previous revision) or several of them",
)
_RANGE = rule("!has(self.max) || !has(self.min) || self.min <= self.max", "min must not be above max")
_SAMPLES = rule(
    "!has(self.samplesQuery) || has(self.minSamples)",
    "samplesQuery counts the samples that minSamples asks for: give minSamples, e.g. minSamples: 200",
)
_COUNTED = rule(
    "!has(self.minSamples) || has(self.samplesQuery)",
    "minSamples needs samplesQuery, which counts the samples, e.g. sum(increase(requests_total[1m]))",
)
_COMPARED = rule(
    "!has(self.baseline) || has(self.maxRatio)",
    "baseline says what maxRatio compares with: give maxRatio, e.g. maxRatio: 1.2",
)
_LATENCY_LIMITS = rule(
    "has(self.max) || has(self.maxRatio)",
    "a latency check needs a limit: give max (in milliseconds), maxRatio (to the previous revision) or both",
)
_LATENCY_BODY = rule("!has(self.body) || has(self.path)", "body is sent to path: give path, or leave both out")
_OPEN_URL = rule(
    "!self.matches('^[^/]*//[^/]*@')",
    "credentials never stand in a URL: give the address of a Prometheus that may be read without them",
)
_CHECK_NAME = rule(
    "self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",
    "not a name of a health check: write lower-case letters, digits and hyphens, e.g. error-rate",
)
_PATH = rule("self.startsWith('/')", "a path begins with /, e.g. /v2/health/ready")
_ABOVE_ZERO = rule("self > 0.0", "the limit must be above zero")
_QUANTILE = rule("self > 0.0 && self <= 1.0", "a quantile lies above 0 and is at most 1, e.g. 0.99")


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
        json_schema_extra=checked(_PATH),
    )
    body: Opaque | None = Field(default=None, description="JSON sent by POST; without it the request is a GET")
    expect: Expect = Expect()


class Latency(ApiModel):
    """Time that every pod takes to answer, measured by the operator; beside it that of the previous revision."""

    model_config = ConfigDict(json_schema_extra=checked(_LATENCY_LIMITS, _LATENCY_BODY))

    path: str | None = Field(
        default=None,
        max_length=512,
        description="on the serving port; default: the golden requests of the bundle",
        json_schema_extra=checked(_PATH),
    )
    body: Opaque | None = Field(default=None, description="JSON sent to path by POST; without it the request is a GET")
    quantile: float = Field(
        default=0.99, description="of all answers in an interval", json_schema_extra=checked(_QUANTILE)
    )
    max: Annotated[float, Field(le=30_000)] | None = Field(
        default=None, description="longest that passes, in milliseconds", json_schema_extra=checked(_ABOVE_ZERO)
    )
    max_ratio: float | None = Field(
        default=None,
        description="to the previous revision, asked the same way at the same time; waived where there is none",
        json_schema_extra=checked(_ABOVE_ZERO),
    )
    requests: int = Field(default=20, ge=1, le=200, description="to each pod in an interval, one after the other")
    min_samples: int = Field(default=20, ge=1, le=100_000, description="answers without which it is inconclusive")


class Baseline(StrEnum):
    """When the previous revision's figure is taken."""

    SAME_WINDOW = "SameWindow"
    BEFORE_SWITCH = "BeforeSwitch"


class Prometheus(ApiModel):
    """A query with limits on its value; no data is inconclusive, never a pass."""

    model_config = ConfigDict(json_schema_extra=checked(_LIMITS, _RANGE, _SAMPLES, _COUNTED, _COMPARED))

    url: str = Field(
        min_length=1,
        max_length=512,
        description="of the Prometheus server, without credentials",
        json_schema_extra=checked(HTTP, _OPEN_URL),
    )
    query: str = Field(
        min_length=1,
        max_length=4096,
        description="may use {{namespace}}, {{name}}, {{version}}, {{revision}}, {{previousVersion}} and "
        "{{previousRevision}}",
    )
    max: float | None = Field(default=None, description="largest value that passes")
    min: float | None = Field(default=None, description="smallest value that passes")
    max_ratio: float | None = Field(
        default=None,
        description="to the value of the same query for the previous revision; waived where there is none",
        json_schema_extra=checked(_ABOVE_ZERO),
    )
    baseline: Baseline | None = Field(
        default=None,
        description="SameWindow (default) asks for the previous revision at the same time, which gets no traffic "
        "any more; BeforeSwitch at the time when it had all of it",
    )
    min_samples: float | None = Field(default=None, ge=0, description="with fewer the check is inconclusive")
    samples_query: str | None = Field(default=None, max_length=4096, description="number of samples behind the value")


#: Smaller bounds than in other templates: the cost of rules is reckoned for every one of 16 checks.
_JobTemplate = Annotated[Opaque, WithJsonSchema(pod_template(containers=4, variables=32, volumes=16))]


class CheckJob(ApiModel):
    """A Job of the user's, run once in a bake: complete is a pass, an exit code of its own a failure."""

    deadline: Duration = Field(
        default=timedelta(minutes=10),
        description="from its creation; a Job that is not complete by then is an error",
        json_schema_extra=checked(POSITIVE),
    )
    template: _JobTemplate = Field(description="pod template; the first container is the check")


class HealthCheck(ApiModel):
    """One named check; exactly one of the kinds."""

    model_config = ConfigDict(json_schema_extra=checked(_ONE_KIND, _JOB_ONCE))

    name: str = Field(
        min_length=1,
        max_length=63,
        pattern="^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
        description="shown in status and events",
        json_schema_extra=checked(_CHECK_NAME),
    )
    interval: Duration | None = Field(
        default=None, description="between two results; default: bake.interval", json_schema_extra=checked(POSITIVE)
    )
    failure_limit: Annotated[int, Field(ge=0, le=1000)] | None = Field(
        default=None, description="failed results that are still tolerated; default: bake.failureLimit"
    )
    consecutive_errors: Annotated[int, Field(ge=0, le=1000)] | None = Field(
        default=None, description="errors in a row that are still tolerated; default: bake.consecutiveErrors"
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
    latency: Latency | None = None
    prometheus: Prometheus | None = None
    job: CheckJob | None = None

    def same_question(self, other: HealthCheck) -> bool:
        """Whether results of ``other`` are results of this check, too."""
        return self.but(**_SCHEDULE) == other.but(**_SCHEDULE)


_SCHEDULE: dict[str, Any] = {"interval": None, "failure_limit": None, "consecutive_errors": None}
