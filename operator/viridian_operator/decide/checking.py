"""Accounting of health checks in a bake: which are due, what their results add up to."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from viridian_operator.api.health import HealthCheck
from viridian_operator.api.rollout import Rollout
from viridian_operator.api.status import Bake, CheckCounts, CheckResult
from viridian_operator.decide.observation import Outcome

#: stands in where no check has an interval: time counts only while somebody looks
_ANY_ENDPOINT = HealthCheck(name="any-endpoint", ready_percent=1)
_MESSAGE_LIMIT = 300


def checks_of(rollout: Rollout) -> tuple[HealthCheck, ...]:
    """The checks of a bake; at least one of them has an interval."""
    named = tuple(rollout.health_checks)
    return named if repeated(named) else (*named, _ANY_ENDPOINT)


def repeated(checks: Iterable[HealthCheck]) -> tuple[HealthCheck, ...]:
    """The checks that give a result per interval; a Job gives one per bake."""
    return tuple(check for check in checks if check.job is None)


def interval_of(rollout: Rollout, check: HealthCheck) -> timedelta:
    """Time between two results of a check."""
    return check.interval or rollout.bake.interval


def due_at(rollout: Rollout, check: HealthCheck, bake: Bake) -> datetime:
    """When the next result of a check is wanted."""
    return _last(check, bake) + interval_of(rollout, check)


def is_due(rollout: Rollout, check: HealthCheck, bake: Bake, now: datetime) -> bool:
    """Whether a result is wanted now."""
    return now >= due_at(rollout, check, bake)


def _last(check: HealthCheck, bake: Bake) -> datetime:
    known = bake.result_of(check.name)
    return (known.checked_at if known else None) or bake.started_at


def account(rollout: Rollout, bake: Bake, results: Iterable[CheckResult], now: datetime) -> Bake:
    """``bake`` with ``results``; each counts once, those of checks that are not in the spec any more do not."""
    checks = checks_of(rollout)
    known = {check.name: check for check in repeated(checks)}
    records = {record.name: record for record in bake.results}
    for result in results:
        check = known.get(result.name)
        if check is not None and not _counted_already(records.get(result.name), result):
            records[result.name] = counted(records.get(result.name), result, interval_of(rollout, check), now)
    return with_records(bake, checks, records.values(), now)


def with_records(bake: Bake, checks: Iterable[HealthCheck], records: Iterable[CheckResult], now: datetime) -> Bake:
    """``bake`` with the last results of ``checks``; it has passed for as long as each of them has."""
    found, ordered = {record.name: record for record in records}, tuple(checks)
    results = [found[check.name] for check in ordered if check.name in found]
    seconds = [found[check.name].counts.passed_seconds if check.name in found else 0.0 for check in repeated(ordered)]
    if results == bake.results:
        return bake
    return bake.but(checked_at=now, results=results, passed_seconds=min(seconds, default=0.0))


def _counted_already(record: CheckResult | None, result: CheckResult) -> bool:
    if record is None or record.checked_at is None or result.checked_at is None:
        return False
    return result.checked_at <= record.checked_at


def counted(record: CheckResult | None, result: CheckResult, interval: timedelta, now: datetime) -> CheckResult:
    """``result`` with the counts of all before it and its own."""
    old, outcome = record.counts if record else CheckCounts(), result.outcome
    errored = outcome == Outcome.ERRORED
    counts = CheckCounts(
        passed=old.passed + (outcome == Outcome.PASSED),
        failed=old.failed + (outcome == Outcome.FAILED),
        errored=old.errored + errored,
        inconclusive=old.inconclusive + (outcome == Outcome.INCONCLUSIVE),
        consecutive_errors=old.consecutive_errors + 1 if errored else 0,
        passed_seconds=old.passed_seconds + (interval.total_seconds() if outcome == Outcome.PASSED else 0),
    )
    return result.but(counts=counts, message=result.message[:_MESSAGE_LIMIT], checked_at=result.checked_at or now)


def holds(rollout: Rollout, bake: Bake) -> bool:
    """Whether the bake is over: every check passed for long enough, and none ended on anything else."""
    if bake.passed_seconds < rollout.bake.duration.total_seconds():
        return False
    last = (bake.result_of(check.name) for check in checks_of(rollout))
    return all(result is not None and result.outcome == Outcome.PASSED for result in last)


def beyond_limit(rollout: Rollout, bake: Bake) -> str:
    """Which check failed too often; "" if none did."""
    for check, result in _judged(rollout, bake):
        limit = rollout.bake.failure_limit if check.failure_limit is None else check.failure_limit
        if check.job is not None and result.outcome == Outcome.FAILED:
            return f"check {check.name} failed: {result.message}"
        if result.counts.failed > limit:
            return f"check {check.name} failed {result.counts.failed} times: {result.message}"
    return ""


def blind(rollout: Rollout, bake: Bake) -> str:
    """Which check cannot tell anything, and is not expected to any more; "" if none."""
    for check, result in _judged(rollout, bake):
        limit = rollout.bake.consecutive_errors if check.consecutive_errors is None else check.consecutive_errors
        if check.job is not None and result.outcome == Outcome.ERRORED:
            return f"check {check.name} could not tell: {result.message}"
        errors = result.counts.consecutive_errors
        if check.job is None and limit is not None and errors > limit:
            return f"check {check.name} could not tell {errors} times in a row: {result.message}"
    return ""


def _judged(rollout: Rollout, bake: Bake) -> list[tuple[HealthCheck, CheckResult]]:
    pairs = ((check, bake.result_of(check.name)) for check in checks_of(rollout))
    return [(check, result) for check, result in pairs if result is not None]
