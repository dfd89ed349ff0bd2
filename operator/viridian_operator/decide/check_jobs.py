"""Health checks that are Jobs of the user's: created once in a bake, their end is the result."""

from __future__ import annotations

from collections.abc import Iterator

from viridian_operator.api import names
from viridian_operator.api.health import HealthCheck
from viridian_operator.api.status import Bake, CheckCounts, CheckResult, Phase
from viridian_operator.decide.checking import checks_of, with_records
from viridian_operator.decide.decision import CreateCheckJob
from viridian_operator.decide.draft import Draft
from viridian_operator.decide.jobs import Failure, classify
from viridian_operator.decide.observation import JobState, JobView, Outcome

#: label value of these Jobs
TASK = "check"
_FINAL = frozenset({Outcome.PASSED, Outcome.FAILED, Outcome.ERRORED})


def account_jobs(d: Draft, bake: Bake) -> Bake:
    """``bake`` with what the Jobs say; a result that stands is never asked for again."""
    checks = checks_of(d.spec.rollout)
    records = {record.name: record for record in bake.results}
    for check in checks:
        if check.job is not None and (found := _result(d, check, records.get(check.name))) is not None:
            records[check.name] = found
    return with_records(bake, checks, records.values(), d.now)


def _result(d: Draft, check: HealthCheck, record: CheckResult | None) -> CheckResult | None:
    """The record of a check as it should be now; None if it should stay."""
    if record is not None and record.outcome in _FINAL:
        return None
    job = job_of(d, check)
    if job is None and record is None:
        return None
    outcome, message = _judged(job)
    if record is not None and (record.outcome, record.message) == (outcome, message):
        return None
    counts = CheckCounts(
        passed=outcome is Outcome.PASSED, failed=outcome is Outcome.FAILED, errored=outcome is Outcome.ERRORED
    )
    return CheckResult(name=check.name, outcome=outcome, message=message, checked_at=d.now, counts=counts)


def _judged(job: JobView | None) -> tuple[Outcome, str]:
    """Only an exit of the check itself is a verdict about the model."""
    if job is None:
        return Outcome.ERRORED, "its Job was deleted before its end was seen"
    if job.state is JobState.COMPLETE:
        return Outcome.PASSED, f"{job.name} is complete"
    if job.state is not JobState.FAILED:
        return Outcome.INCONCLUSIVE, f"{job.name} has not ended"
    verdict = classify(job)
    outcome = Outcome.FAILED if verdict.failure is Failure.CODE else Outcome.ERRORED
    return outcome, f"{job.name}: {verdict.message}"[:300]


def job_of(d: Draft, check: HealthCheck) -> JobView | None:
    """The Job of a check in this bake."""
    name = names.check_job(d.seen.name, check.name, d.update.number)
    return next((job for job in d.seen.jobs if job.name == name), None)


def wanted_jobs(d: Draft) -> Iterator[CreateCheckJob]:
    """Jobs that nobody has seen yet; one that was seen is never created again."""
    if not d.running or d.update.phase is not Phase.BAKING or d.update.bake is None or d.status.active is None:
        return
    for check in d.spec.rollout.health_checks:
        if check.job and d.update.bake.result_of(check.name) is None and job_of(d, check) is None:
            yield CreateCheckJob(
                check=check.name, update=d.update, revision=d.status.active, previous=d.status.previous
            )
