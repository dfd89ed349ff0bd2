"""Phases ``Queued`` and ``Training``: one candidate out of one window."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from pydantic import ValidationError

from viridian_operator.api.conditions import Reason
from viridian_operator.api.gate import Split
from viridian_operator.api.status import Attempts, Candidate, Kind, Phase, Update, Window
from viridian_operator.api.training import Training
from viridian_operator.decide.draft import Draft
from viridian_operator.decide.ending import finish, want_aliases
from viridian_operator.decide.gaps import gaps_after
from viridian_operator.decide.hashing import canonical_json
from viridian_operator.decide.jobs import (
    await_capacity,
    begin_attempts,
    failed,
    heed_disruption,
    out_of_time,
    vanished,
)
from viridian_operator.decide.observation import JobState, JobView, RegisteredVersion
from viridian_operator.decide.tags import GAPS, owe_tag
from viridian_operator.decide.window import entries_before

TASK = "train"
_REGISTRY_GRACE = timedelta(minutes=10)


def queued(d: Draft) -> None:
    """Wait until the Job's pods run."""
    wanted = _wanted(d)
    if wanted is None:
        return
    job = _job(d)
    if job is None and d.update.attempts.seen:
        vanished(d, task=TASK, again=Phase.QUEUED, limit=wanted.deadlines.queued)
    elif out_of_time(d, job):
        return
    elif job is None and not d.seen.slot.granted:
        _await_slot(d)
    elif await_capacity(d, job):
        d.enter(
            Phase.TRAINING,
            f"{TASK} attempt {d.update.attempts.number} runs",
            limit=wanted.deadlines.running,
        )
        d.note(Reason.TRAINING_STARTED, f"update {d.update.number} trains, attempt {d.update.attempts.number}")


def _await_slot(d: Draft) -> None:
    """The operator runs as many trainings as it may; the oldest waiting update comes next."""
    slot = d.seen.slot
    ahead = f", {slot.ahead} updates wait for longer" if slot.ahead else ""
    d.say(f"waiting until one of {slot.limit} trainings ends, the operator runs no more at once{ahead}")
    if d.overdue:
        finish(d, Phase.FAILED, Reason.TRAINING_SLOTS, d.update.message)


def training(d: Draft) -> None:
    """Wait for the Job's end, and believe its result only where the registry agrees."""
    wanted = _wanted(d)
    if wanted is None:
        return
    job, queue = _job(d), wanted.deadlines.queued
    if job is not None:
        heed_disruption(d, job)
    if job is None:
        vanished(d, task=TASK, again=Phase.QUEUED, limit=queue)
    elif job.state is JobState.FAILED:
        failed(d, job, again=Phase.QUEUED, limit=queue)
    elif job.state is JobState.COMPLETE:
        _complete(d, job)
    elif out_of_time(d, job):
        return
    elif job.state is JobState.SUSPENDED:
        # preempted by its queue: waiting is no running, and costs no attempt
        d.enter(Phase.QUEUED, f"{job.name} is suspended by its queue", limit=queue)
    elif d.overdue:
        finish(d, Phase.FAILED, Reason.DEADLINE_EXCEEDED, f"{job.name}: it did not end in time")


def _wanted(d: Draft) -> Training | None:
    """How it is to be trained; without that (a new strategy may need no training) the update ends."""
    if d.spec.training is None:
        finish(d, Phase.FAILED, Reason.INVALID_SPEC, "spec.training was removed while it trained")
    return d.spec.training


def _job(d: Draft) -> JobView | None:
    return d.seen.job_of(TASK, d.update.number, d.update.attempts.number)


def _complete(d: Draft, job: JobView) -> None:
    registry = d.seen.registry
    missing = registry.lacks(f"update:{d.seen.uid}/{d.update.number}")
    if registry.error or (registry.version is None and not missing):
        d.say(f"trained; waiting for the registry: {registry.error or 'not asked yet'}")
        d.ask_again()
        if d.update.deadline and d.now >= d.update.deadline + _REGISTRY_GRACE:
            finish(d, Phase.FAILED, Reason.REGISTRY_UNREACHABLE, registry.error or "the registry did not answer")
        return
    if registry.version is None:
        finish(d, Phase.FAILED, Reason.VERSION_MISSING, f"{job.name} succeeded but registered no version")
        return
    try:
        # a pod that is gone took its termination message along; the registry's tags say the same
        candidate = _candidate(job.result) if job.result else _recorded(registry.version)
    except ValueError as error:
        finish(d, Phase.FAILED, Reason.RESULT_MISMATCH, str(error))
        return
    if mismatch := _mismatch(d, candidate, registry.version):
        finish(d, Phase.FAILED, Reason.RESULT_MISMATCH, mismatch)
        return
    _trained(d, candidate.but(graph=registry.version.graph))


def _candidate(result: Mapping[str, Any] | None) -> Candidate:
    """The trainer's result; raises ValueError with what is wrong with it."""
    if not result or result.get("task") != "Train":
        raise ValueError("the training image wrote no result to /dev/termination-log, see docs/reference/contracts.md")
    try:
        return Candidate.model_validate(result)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"the training result is incomplete: {first['loc']}: {first['msg']}") from error


def _recorded(version: RegisteredVersion) -> Candidate:
    if not version.trained_to or version.window is None:
        raise ValueError(f"the result is lost, and version {version.version} lacks the tags of the contract")
    return Candidate(
        version=version.version,
        digest=version.digest,
        event_time=version.event_time,
        trained_to=version.trained_to,
        predicted_from=version.predicted_from or None,
        holdout=Window(start=version.trained_to, end=version.window.end),
    )


def _mismatch(d: Draft, candidate: Candidate, registered: RegisteredVersion) -> str:
    update = d.update
    expected: dict[str, tuple[object, object]] = {
        "version": (candidate.version, registered.version),
        "digest": (candidate.digest, registered.digest),
        "update": (f"{d.seen.uid}/{update.number}", registered.update),
        "parent": (update.parent.digest if update.parent else "", registered.parent),
        "window": (update.window, registered.window),
    }
    if is_prequential(update):
        expected["predicted-from"] = (candidate.predicted_from or {}, registered.predicted_from)
    for what, (wanted, found) in expected.items():
        if wanted != found:
            return f"the registry has another {what} than the update: {found!r} instead of {wanted!r}"
    return _unjudgeable(d, candidate) or _unfair(d, candidate)


def is_prequential(update: Update) -> bool:
    """Whether the candidate is judged by what it predicted before it trained on it."""
    return update.split == Split.PREQUENTIAL


def predicted(update: Update) -> Window | None:
    """The events of which stored predictions judge the candidate; they end where its training ended."""
    candidate = update.candidate
    if candidate is None or candidate.predicted_from is None or not is_prequential(update):
        return None
    return Window(start=candidate.predicted_from, end=candidate.trained_to)


def _unjudgeable(d: Draft, candidate: Candidate) -> str:
    if not is_prequential(d.update) or set(candidate.predicted_from or {}) == set(candidate.trained_to):
        return ""
    return (
        "the training says of no predictedFrom, or not of every partition, from where on it predicted events before it "
        "trained on them: use an image that can, or set gate.split to Holdout"
    )


def _unfair(d: Draft, candidate: Candidate) -> str:
    """Events that the champion has trained on would speak for it, if they judged."""
    fresh, judging = d.update.fresh, predicted(d.update.but(candidate=candidate)) or candidate.holdout
    if fresh is None or judging is None:
        return ""
    for partition, offset in judging.start.items():
        if entries_before(offset) < entries_before(fresh.get(partition, "0")):
            return f"events of partition {partition} judge from {offset} on, but the champion has trained on them"
    return ""


def _tell_gaps(d: Draft, candidate: Candidate) -> None:
    """A version says of itself what was skipped before its window."""
    champion = d.status.champion
    if champion is None or d.update.kind is not Kind.INCREMENTAL:
        return
    if gaps := gaps_after(champion, d.status.gaps):
        owe_tag(d, candidate.version, GAPS, canonical_json([gap.wire() for gap in gaps]))


def _counted(d: Draft, events: Mapping[str, int]) -> str:
    """What was trained on and what was not, and where people find the latter."""
    parts = [f"{events.get('trained', 0)} events"]
    if late := events.get("late"):
        parts.append(f"{late} of them late")
    if duplicates := events.get("duplicates"):
        parts.append(f"{duplicates} duplicates left out")
    if rejected := events.get("rejected"):
        stream = d.spec.data.source.redis_stream if d.spec.data else None
        where = f", kept in stream {stream.stream}:dead" if stream else ""
        parts.append(f"{rejected} unreadable entries left out{where}")
    return ", ".join(parts)


def _trained(d: Draft, candidate: Candidate) -> None:
    d.put_update(candidate=candidate, attempts=Attempts())
    if entry := d.status.quarantined(candidate.digest):
        finish(
            d,
            Phase.REJECTED,
            Reason.QUARANTINED,
            f"digest is in quarantine since update {entry.update}: {entry.reason}",
        )
        return
    want_aliases(d, {"candidate": candidate.version})
    _tell_gaps(d, candidate)
    message = f"update {d.update.number} trained version {candidate.version} on {_counted(d, candidate.events)}"
    d.note(Reason.TRAINED, message)
    begin_attempts(d, Phase.EVALUATING, "waiting for the evaluation Job", d.spec.evaluation.deadlines)
