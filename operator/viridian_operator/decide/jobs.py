"""Common part of training and evaluating: one attempt's Job, and what its end means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from viridian_operator.api import names
from viridian_operator.api.conditions import Reason
from viridian_operator.api.status import Attempts, Phase
from viridian_operator.api.training import Deadlines, Retries
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


#: exit codes of the contract; every other one is a crash
_CODES = {
    3: (Failure.FINAL, Reason.GATE_INPUT_MISSING),
    64: (Failure.FINAL, Reason.BAD_USAGE),
    65: (Failure.FINAL, Reason.BAD_DATA),
    75: (Failure.INFRASTRUCTURE, Reason.INFRASTRUCTURE),
    78: (Failure.FINAL, Reason.BAD_CONFIGURATION),
    137: (Failure.INFRASTRUCTURE, Reason.KILLED),
    143: (Failure.INFRASTRUCTURE, Reason.STOPPED),
}
#: reasons that a container may give for its exit code itself; any other word is no reason of ours
_TOLD = {
    65: frozenset({Reason.DATA_TRIMMED}),
    75: frozenset({Reason.REGISTRY_UNREACHABLE, Reason.LOG_UNREACHABLE, Reason.PEER_LOST}),
}
#: reason of a Job that has used up ``activeDeadlineSeconds``
_DEADLINE = "DeadlineExceeded"

_TROUBLE = {
    PodTrouble.UNSCHEDULABLE: Reason.UNSCHEDULABLE,
    PodTrouble.VOLUME_MISSING: Reason.VOLUME_MISSING,
    PodTrouble.VOLUME_LOST: Reason.VOLUME_LOST,
    PodTrouble.VOLUME_UNBOUND: Reason.VOLUME_UNBOUND,
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
    told, sentence = _last_words(job)
    text = sentence or job.message or f"exit code {job.exit_code}"
    if job.disrupted:
        return Verdict(Failure.INFRASTRUCTURE, job.disruption or Reason.POD_LOST, text)
    if job.trouble is PodTrouble.OUT_OF_MEMORY:
        return Verdict(Failure.FINAL, Reason.OUT_OF_MEMORY, "out of memory: raise its memory limit")
    if job.reason == _DEADLINE:
        return Verdict(Failure.FINAL, Reason.DEADLINE_EXCEEDED, "it did not end in time")
    failure, reason = _CODES.get(job.exit_code or 0, (Failure.CODE, Reason.CODE_FAILED))
    own = next((each for each in _TOLD.get(job.exit_code or 0, ()) if each == told), reason)
    return Verdict(failure, own, text)


def _last_words(job: JobView) -> tuple[str, str]:
    """Reason and sentence that the container gave, which an image may write as it likes."""
    error = (job.result or {}).get("error")
    if not isinstance(error, Mapping):
        return "", str(error or "")
    return str(error.get("reason") or ""), str(error.get("message") or "")


def counts_of(job: JobView) -> dict[str, int]:
    """Counts of events that a failed Job told: what is no whole number is left out, as images may differ."""
    found = (job.result or {}).get("events")
    items = found.items() if isinstance(found, Mapping) else ()
    return {str(name): value for name, value in items if isinstance(value, int) and not isinstance(value, bool)}


def retry_at(attempts: Attempts, since: datetime) -> datetime:
    """When the Job of the present attempt may be created; later with each infrastructure failure."""
    failures = attempts.infrastructure + attempts.code
    return since + min(RETRY_BASE * (1 << min(failures - 1, 16)), RETRY_CAP) if failures else since


def begin_attempts(d: Draft, phase: Phase, message: str, deadlines: Deadlines) -> None:
    """Enter training or evaluation: from now on its total deadline runs, whatever becomes of its attempts."""
    retries = d.spec.training.retries if d.spec.training else Retries()
    d.put_update(total_deadline=d.now + deadlines.over_all(retries))
    d.enter(phase, message, limit=deadlines.queued)


def out_of_time(d: Draft, job: JobView | None) -> bool:
    """Whether all attempts and suspensions together took too long, which ends the update.

    Each of them begins the deadlines of waiting and running anew. A Job that has ended is heard first.
    """
    deadline = d.update.total_deadline
    if deadline is None or (job is not None and job.state in (JobState.COMPLETE, JobState.FAILED)):
        return False
    d.look_at(deadline)
    if d.now < deadline:
        return False
    step = "evaluation" if d.update.phase is Phase.EVALUATING else "training"
    message = f"{step}.deadlines.total is over, for all attempts and suspensions together: {d.update.message}"
    finish(d, Phase.FAILED, Reason.TOTAL_DEADLINE_EXCEEDED, message)
    return True


def await_capacity(d: Draft, job: JobView | None) -> bool:
    """Whether the Job of this attempt runs or has ended; says what it waits for, and ends the update
    when it waited too long."""
    if job is not None:
        if not d.update.attempts.seen:
            d.put_update(attempts=d.update.attempts.but(seen=True))
        heed_disruption(d, job)
    if job is None:
        d.look_at(retry_at(d.update.attempts, d.update.phase_since))
        if d.update.attempts.number == 1:  # a later one goes on saying what the last one ended with
            d.say("waiting for its Job to be created")
    elif job.state in (JobState.RUNNING, JobState.COMPLETE, JobState.FAILED):
        return True
    elif job.state is JobState.SUSPENDED:
        d.say(f"{job.name} is suspended by its queue")
    else:
        d.say(f"{job.name} is waiting for its pod: {job.message or 'not scheduled yet'}")
    if d.overdue:
        trouble = _TROUBLE.get(job.trouble) if job and job.trouble else None
        finish(d, Phase.FAILED, trouble or Reason.QUEUE_DEADLINE_EXCEEDED, d.update.message)
    return False


def heed_disruption(d: Draft, job: JobView) -> None:
    """Keep why a pod is being ended: it is gone with its reason before its Job has failed, and the Job knows none."""
    alive = job.state in (JobState.PENDING, JobState.RUNNING)
    if alive and job.disruption and job.disruption != d.update.attempts.disruption:
        d.put_update(attempts=d.update.attempts.but(disruption=str(job.disruption)))


def failed(d: Draft, job: JobView, *, again: Phase, limit: timedelta) -> None:
    """Another attempt while the budget of this class of failure lasts; the end of the update after that."""
    training = d.spec.training
    attempts = d.update.attempts
    if job.disruption is None and attempts.disruption in Reason:
        job = replace(job, disruption=Reason(attempts.disruption))
    verdict = classify(job)
    message = f"{job.name}: {verdict.message}"
    retries = training.retries if training else Retries()  # a followed version is judged without training
    if counts := counts_of(job):
        d.put_update(events=counts)
    if verdict.failure is Failure.FINAL:
        finish(d, Phase.FAILED, verdict.reason, message)
        return
    lost = verdict.failure is Failure.INFRASTRUCTURE and verdict.reason is not Reason.SUSPENDED
    infrastructure = attempts.infrastructure + lost
    code = attempts.code + (verdict.failure is Failure.CODE)
    if infrastructure > retries.infrastructure or code > retries.code:
        finish(d, Phase.FAILED, verdict.reason, f"the last attempt, {message}")
        return
    following = Attempts(number=attempts.number + 1, infrastructure=infrastructure, code=code)
    d.put_update(attempts=following)
    d.enter(again, f"attempt {following.number} after {message}", limit=limit, reason=verdict.reason)
    d.note(verdict.reason, f"trying again after {message}", warn=True)


def vanished(d: Draft, *, task: str, again: Phase, limit: timedelta) -> None:
    """A Job that ran is gone: it is never created again, the next attempt is."""
    job = JobView(
        name=names.job(d.seen.name, task, d.update.number, d.update.attempts.number),
        task=task,
        number=d.update.number,
        attempt=d.update.attempts.number,
        state=JobState.FAILED,
        message="deleted while it ran",
        disrupted=True,
        disruption=Reason.JOB_DELETED,
    )
    failed(d, job, again=again, limit=limit)
