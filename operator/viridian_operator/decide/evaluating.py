"""Phase ``Evaluating``: the gate's verdict, made by a Job of its own."""

from __future__ import annotations

from pydantic import ValidationError

from viridian_operator.api.conditions import Reason
from viridian_operator.api.gate import OnInconclusive
from viridian_operator.api.status import Evaluation, Kind, Phase
from viridian_operator.decide.draft import Draft
from viridian_operator.decide.ending import finish, promote
from viridian_operator.decide.jobs import await_capacity, failed, heed_disruption, out_of_time, vanished
from viridian_operator.decide.observation import JobState, JobView
from viridian_operator.decide.preparing import prepare
from viridian_operator.decide.reports import report_of, with_report
from viridian_operator.decide.tags import VERDICT, owe_tag

TASK = "eval"


def evaluating(d: Draft) -> None:
    """Wait for the verdict and follow it."""
    update = d.update
    if update.evaluation is not None:
        _held(d, update.evaluation)
        return
    job = d.seen.job_of(TASK, update.number, update.attempts.number)
    if job is None and update.attempts.seen:
        vanished(d, task=TASK, again=Phase.EVALUATING, limit=d.spec.evaluation.deadlines.queued)
    elif out_of_time(d, job):
        return
    elif not update.attempts.judging:
        if await_capacity(d, job):
            d.put_update(attempts=d.update.attempts.but(judging=True))
            limit = d.spec.evaluation.deadlines.running
            d.enter(Phase.EVALUATING, f"judging version {_version(d)}", limit=limit)
    elif job is not None:
        _watch(d, job)


def _version(d: Draft) -> str:
    return d.update.candidate.version if d.update.candidate else "?"


def _watch(d: Draft, job: JobView) -> None:
    heed_disruption(d, job)
    if job.state is JobState.FAILED:
        failed(d, job, again=Phase.EVALUATING, limit=d.spec.evaluation.deadlines.queued)
    elif job.state is JobState.COMPLETE:
        _complete(d, job)
    elif job.state is JobState.SUSPENDED:
        d.put_update(attempts=d.update.attempts.but(judging=False))
        queued = d.spec.evaluation.deadlines.queued
        d.enter(Phase.EVALUATING, f"{job.name} is suspended by its queue", limit=queued)
    elif d.overdue:
        finish(d, Phase.FAILED, Reason.DEADLINE_EXCEEDED, f"{job.name}: it did not end in time")


def _complete(d: Draft, job: JobView) -> None:
    try:
        if not job.result or job.result.get("task") != "Evaluate":
            raise ValueError("it wrote no result to /dev/termination-log, see docs/reference/contracts.md")
        report = report_of(job.result, d.spec.registry)
        evaluation = Evaluation.model_validate({**job.result, "report": report})
    except ValidationError as error:
        first = error.errors()[0]
        finish(d, Phase.FAILED, Reason.RESULT_MISMATCH, f"{job.name}: {first['loc']}: {first['msg']}")
        return
    except ValueError as error:
        finish(d, Phase.FAILED, Reason.RESULT_MISMATCH, f"{job.name}: {error}")
        return
    d.put_update(evaluation=evaluation, total_deadline=None)
    if d.update.candidate and d.update.kind is not Kind.ANCHOR:  # of which the trainer hears when it is decided
        owe_tag(d, d.update.candidate.version, VERDICT, evaluation.verdict)
    _follow(d, evaluation)


def _follow(d: Draft, evaluation: Evaluation) -> None:
    """Only the word Pass passes; anything unknown is treated as inconclusive."""
    if evaluation.verdict == "Pass":
        d.note(Reason.GATE_PASSED, with_report(evaluation.message, evaluation))
        passed(d)
    elif evaluation.verdict == "Reject":
        finish(d, Phase.REJECTED, Reason.GATE_REJECTED, evaluation.message or evaluation.reason)
    elif d.spec.gate.on_inconclusive is OnInconclusive.HOLD:
        message = f"inconclusive: {evaluation.message}; promote/{d.update.number}/… or reject/{d.update.number}/…"
        d.enter(
            Phase.EVALUATING,
            message,
            limit=d.spec.rollout.approval.expires_after,
            reason=Reason.GATE_INCONCLUSIVE,
        )
        d.note(Reason.GATE_INCONCLUSIVE, with_report(message, evaluation), warn=True)
    else:
        finish(d, Phase.REJECTED, Reason.GATE_INCONCLUSIVE, _inconclusive(d, evaluation))


def passed(d: Draft) -> None:
    """The candidate is good enough: it is rolled out, or is champion at once if replicas have its weights already."""
    if d.update.kind is Kind.ANCHOR:
        _crown_anchor(d)
    else:
        prepare(d)


def _crown_anchor(d: Draft) -> None:
    """Only while the online trainer goes on from it: one that went back meanwhile trains another branch, and replicas
    have left these weights."""
    candidate, report = d.update.candidate, d.seen.online.report if d.seen.online else None
    if report is not None and candidate is not None and report.pending == candidate.model:
        promote(d)
    elif report is not None:
        message = f"the online trainer does not go on from version {_version(d)} any more"
        finish(d, Phase.SUPERSEDED, Reason.SUPERSEDED, message)
    elif d.overdue:
        finish(d, Phase.FAILED, Reason.ONLINE_NOT_READY, "it passed, but the online trainer says nothing")
    else:
        d.say("passed; waiting for the online trainer to say whether it goes on from it")
        d.ask_again()


def _inconclusive(d: Draft, evaluation: Evaluation) -> str:
    text, look, looks = evaluation.message or evaluation.reason, d.status.backoff.looks + 1, d.spec.gate.looks
    if looks == 1:
        return text
    after = "the next one has more events" if look < looks else "no further one"
    return f"inconclusive look {look} of {looks}, {after}: {text}"


def _held(d: Draft, evaluation: Evaluation) -> None:
    """An inconclusive verdict that waits for a person, or an anchor that passed for its trainer."""
    if evaluation.verdict == "Pass" or evaluation.overridden_by:
        passed(d)
    elif d.overdue:
        finish(d, Phase.REJECTED, Reason.GATE_INCONCLUSIVE, f"nobody decided in time: {evaluation.message}")
