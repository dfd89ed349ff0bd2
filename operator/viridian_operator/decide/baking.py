"""Phase ``Baking``: the new revision under full traffic, with the old one standing by."""

from __future__ import annotations

from viridian_operator.api.conditions import Reason
from viridian_operator.api.rollout import BakeInconclusive
from viridian_operator.api.status import Bake, CheckResult
from viridian_operator.decide.draft import Draft
from viridian_operator.decide.ending import promote
from viridian_operator.decide.observation import PodTrouble
from viridian_operator.decide.revisions import CRASHES, FATAL
from viridian_operator.decide.rolling_back import roll_back

PASSED, FAILED = "Passed", "Failed"


def baking(d: Draft) -> None:
    """Lost endpoints roll back at once; failed checks beyond the limit do; enough passing time promotes."""
    bake = d.update.bake
    if bake is None:
        raise LookupError(f"update {d.update.number} bakes without a record of it")
    if loss := _lost(d, bake):
        reason, message, of_the_revision = loss
        roll_back(d, reason, message, quarantine=of_the_revision)
        return
    if d.seen.checks is not None:
        bake = _account(d, bake, d.seen.checks)
        d.put_update(bake=bake)
        if bad := _beyond_limit(d, bake):
            roll_back(d, Reason.HEALTH_CHECK_FAILED, bad, quarantine=True)
            return
    wanted = d.spec.rollout.bake.duration.total_seconds()
    if bake.passed_seconds >= wanted:
        promote(d)
        return
    d.look_at((bake.checked_at or bake.started_at) + d.spec.rollout.bake.interval)
    d.say(f"{bake.passed_seconds:.0f} of {wanted:.0f} s passed" + _latest(bake))
    if d.now >= bake.deadline:
        _undecided(d, bake)
    else:
        d.look_at(bake.deadline)


def _latest(bake: Bake) -> str:
    bad = [f"{r.name} {r.outcome}: {r.message}" for r in bake.results if r.outcome != PASSED]
    return f"; {'; '.join(bad)}" if bad else ""


def _lost(d: Draft, bake: Bake) -> tuple[Reason, str, bool] | None:
    """Loss of the new revision's pods: reason, sentence, whether its cause lies in the revision."""
    green = d.status.active
    if green is None:
        return None
    pods = d.seen.pods_of(green.hash)
    for pod in pods:
        if pod.trouble in CRASHES or pod.trouble in FATAL:
            reason = (CRASHES | FATAL)[pod.trouble]
            return reason, f"{pod.name} after the switch: {pod.message}", True
    restarts = sum(pod.restarts for pod in pods)
    if restarts > bake.restarts:
        return Reason.CRASH_LOOP, f"a container of version {green.version} died after the switch", True
    if not any(pod.ready for pod in pods):
        infrastructure = not pods or all(pod.trouble is PodTrouble.INFRASTRUCTURE for pod in pods)
        return Reason.ENDPOINTS_LOST, f"version {green.version} has no ready endpoint", not infrastructure
    return None


def _account(d: Draft, bake: Bake, checks: tuple[CheckResult, ...]) -> Bake:
    """One interval: it counts only if it was observed and every check passed."""
    failures = dict(bake.failures)
    for check in checks:
        if check.outcome == FAILED:
            failures[check.name] = failures.get(check.name, 0) + 1
    passed = all(check.outcome == PASSED for check in checks)
    interval = d.spec.rollout.bake.interval.total_seconds()
    return bake.but(
        checked_at=d.now,
        passed_seconds=bake.passed_seconds + (interval if passed else 0),
        failures=failures,
        results=list(checks),
    )


def _beyond_limit(d: Draft, bake: Bake) -> str:
    for name, count in bake.failures.items():
        if count > d.spec.rollout.bake.failure_limit:
            result = next((r for r in bake.results if r.name == name), None)
            return f"check {name} failed {count} times: {result.message if result else ''}"
    return ""


def _undecided(d: Draft, bake: Bake) -> None:
    """The absolute deadline came without enough passing intervals."""
    message = f"only {bake.passed_seconds:.0f} s passed until the deadline{_latest(bake)}"
    match d.spec.rollout.bake.on_inconclusive:
        case BakeInconclusive.PROMOTE:
            promote(d)
        case BakeInconclusive.HOLD if d.now < bake.deadline + d.spec.rollout.bake.hold_max:
            d.say(f"held: {message}; promote/{d.update.number}/… or abort/{d.update.number}/…")
            d.look_at(bake.deadline + d.spec.rollout.bake.hold_max)
        case _:
            roll_back(d, Reason.BAKE_INCONCLUSIVE, message)
