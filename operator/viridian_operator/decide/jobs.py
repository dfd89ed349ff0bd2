"""Common part of training and evaluating: one attempt's Job, and what its end means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from viridian_operator.api.conditions import Reason
from viridian_operator.api.status import Attempts, Phase
from viridian_operator.api.training import Retries
from viridian_operator.decide.draft import Draft
from viridian_operator.decide.ending import finish
from viridian_operator.decide.observation import JobState, JobView, PodTrouble

RETRY_BASE = timedelta(seconds=5)
RETRY_CAP = timedelta(minutes=5)


class Failure(StrEnum):
    """Whose fault a failed attempt is, which decides whether there is another."""

    INFRASTRUCTURE = "infrastructure"
    CODE = "code"
    FINAL = "final"


#: exit codes of the contract that another attempt would not change
_FINAL = {
    3: Reason.GATE_INPUT_MISSING,
    64: Reason.BAD_USAGE,
    65: Reason.BAD_DATA,
    78: Reason.BAD_CONFIGURATION,
}
_TEMPORARY = frozenset({75, 137, 143})

_TROUBLE = {
    PodTrouble.UNSCHEDULABLE: Reason.UNSCHEDULABLE,
    PodTrouble.IMAGE_PULL: Reason.IMAGE_PULL,
    PodTrouble.INVALID: Reason.POD_INVALID,
}


@dataclass(frozen=True)
class Verdict:
    """Class, reason and one sentence about a failed Job."""

    failure: Failure
    reason: Reason
    message: str


def classify(job: JobView) -> Verdict:
    """What the end of a failed Job means (exit code 137 without OOM is infrastructure)."""
    error = (job.result or {}).get("error") or {}
    text = str(error.get("message") or job.message or f"exit code {job.exit_code}")
    if job.disrupted:
        return Verdict(Failure.INFRASTRUCTURE, Reason.INFRASTRUCTURE, text)
    if job.trouble is PodTrouble.OUT_OF_MEMORY:
        return Verdict(Failure.FINAL, Reason.OUT_OF_MEMORY, f"{job.name} ran out of memory: raise its memory limit")
    if job.reason == "DeadlineExceeded":
        return Verdict(Failure.FINAL, Reason.DEADLINE_EXCEEDED, f"{job.name} did not end in time")
    if job.exit_code in _FINAL:
        reason = _FINAL[job.exit_code]
        if error.get("reason") == Reason.DATA_TRIMMED:
            reason = Reason.DATA_TRIMMED
        return Verdict(Failure.FINAL, reason, text)
    if job.exit_code in _TEMPORARY:
        return Verdict(Failure.INFRASTRUCTURE, Reason.INFRASTRUCTURE, text)
    return Verdict(Failure.CODE, Reason.CODE_FAILED, text)


def counts_of(job: JobView) -> dict[str, int]:
    """Counts of events that a failed Job told: what is no whole number is left out, as images may differ."""
    found = (job.result or {}).get("events")
    items = found.items() if isinstance(found, Mapping) else ()
    return {str(name): value for name, value in items if isinstance(value, int) and not isinstance(value, bool)}


def retry_at(attempts: Attempts, since: datetime) -> datetime:
    """When the Job of the present attempt may be created; later with each infrastructure failure."""
    failures = attempts.infrastructure + attempts.code
    return since + min(RETRY_BASE * (1 << failures - 1), RETRY_CAP) if failures else since


def await_capacity(d: Draft, job: JobView | None) -> bool:
    """Whether the Job of this attempt runs or has ended; says what it waits for, and ends the update
    when it waited too long."""
    if job is not None and not d.update.attempts.seen:
        d.put_update(attempts=d.update.attempts.but(seen=True))
    if job is None:
        d.look_at(retry_at(d.update.attempts, d.update.phase_since))
        d.say("waiting for its Job to be created")
    elif job.state in (JobState.RUNNING, JobState.COMPLETE, JobState.FAILED):
        return True
    elif job.state is JobState.SUSPENDED:
        d.say(f"{job.name} is suspended by its queue")
    else:
        d.say(f"{job.name} is waiting for its pod: {job.message or 'not scheduled yet'}")
    if d.overdue:
        reason = (
            _TROUBLE.get(job.trouble, Reason.DEADLINE_EXCEEDED) if job and job.trouble else Reason.DEADLINE_EXCEEDED
        )
        finish(d, Phase.FAILED, reason, d.update.message)
    return False


def failed(d: Draft, job: JobView, *, again: Phase, limit: timedelta) -> None:
    """Another attempt while the budget of this class of failure lasts; the end of the update after that."""
    verdict = classify(job)
    training = d.spec.training
    attempts = d.update.attempts
    retries = training.retries if training else Retries()  # a followed version is judged without training
    if counts := counts_of(job):
        d.put_update(events=counts)
    if verdict.failure is Failure.FINAL:
        finish(d, Phase.FAILED, verdict.reason, verdict.message)
        return
    infrastructure = attempts.infrastructure + (verdict.failure is Failure.INFRASTRUCTURE)
    code = attempts.code + (verdict.failure is Failure.CODE)
    if infrastructure > retries.infrastructure or code > retries.code:
        finish(d, Phase.FAILED, verdict.reason, f"attempt {attempts.number}, the last one: {verdict.message}")
        return
    following = Attempts(number=attempts.number + 1, infrastructure=infrastructure, code=code)
    d.put_update(attempts=following)
    d.enter(again, f"attempt {following.number} after: {verdict.message}", limit=limit, reason=verdict.reason)
    d.note(verdict.reason, f"attempt {attempts.number} failed, trying again: {verdict.message}", warn=True)


def vanished(d: Draft, *, task: str, again: Phase, limit: timedelta) -> None:
    """A Job that ran is gone: it is never created again, the next attempt is."""
    job = JobView(
        name=task,
        task=task,
        number=d.update.number,
        attempt=d.update.attempts.number,
        state=JobState.FAILED,
        message=f"the {task} Job was deleted while it ran",
        disrupted=True,
    )
    failed(d, job, again=again, limit=limit)
