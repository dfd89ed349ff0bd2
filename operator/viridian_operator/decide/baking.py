"""Phase ``Baking``: the new revision under full traffic, with the old one standing by."""

from __future__ import annotations

from viridian_operator.api.conditions import Reason
from viridian_operator.api.rollout import BakeInconclusive
from viridian_operator.api.status import Bake
from viridian_operator.decide.check_jobs import account_jobs
from viridian_operator.decide.checking import (
    account,
    beyond_limit,
    blind,
    checks_of,
    due_at,
    holds,
    interval_of,
    repeated,
)
from viridian_operator.decide.draft import Draft
from viridian_operator.decide.ending import promote
from viridian_operator.decide.observation import Outcome, PodTrouble
from viridian_operator.decide.revisions import CRASHES, FATAL
from viridian_operator.decide.rolling_back import roll_back


def baking(d: Draft) -> None:
    """Lost endpoints roll back at once; failed checks beyond the limit do; enough passing time promotes."""
    bake, rollout = d.update.bake, d.spec.rollout
    if bake is None:
        raise LookupError(f"update {d.update.number} bakes without a record of it")
    if loss := _lost(d, bake):
        reason, message, of_the_revision = loss
        roll_back(d, reason, message, quarantine=of_the_revision)
        return
    bake = account_jobs(d, account(rollout, bake, d.seen.checks or (), d.now))
    d.put_update(bake=bake)
    if bad := beyond_limit(rollout, bake):
        roll_back(d, Reason.HEALTH_CHECK_FAILED, bad, quarantine=True)
        return
    if holds(rollout, bake):
        promote(d)
        return
    _wait(d, bake)


def _wait(d: Draft, bake: Bake) -> None:
    """Until the next result is due, or for as long as one may still come."""
    rollout = d.spec.rollout
    for check in repeated(checks_of(rollout)):
        # one that is due already is being asked, and whoever asks wakes the next pass
        due = due_at(rollout, check, bake)
        d.look_at(due if due > d.now else d.now + interval_of(rollout, check))
    d.say(f"{bake.passed_seconds:.0f} of {rollout.bake.duration.total_seconds():.0f} s passed{_latest(bake)}")
    if d.now >= bake.deadline:
        if d.seen.checking and (bake.checked_at or bake.started_at) < bake.deadline:
            return  # no deadline acts on old sight: after a restart it may have passed long ago
        _undecided(d, bake, f"only {bake.passed_seconds:.0f} s passed until the deadline{_latest(bake)}")
        return
    d.look_at(bake.deadline)
    if (unseen := blind(rollout, bake)) and rollout.bake.on_inconclusive is not BakeInconclusive.PROMOTE:
        # who promotes without proof shall have watched for as long as was asked for
        _undecided(d, bake, unseen)


def _latest(bake: Bake) -> str:
    bad = [f"{r.name} {r.outcome}: {r.message}" for r in bake.results if r.outcome != Outcome.PASSED]
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


def _undecided(d: Draft, bake: Bake, message: str) -> None:
    """Neither good nor bad was seen, and nothing more is waited for."""
    match d.spec.rollout.bake.on_inconclusive:
        case BakeInconclusive.PROMOTE:
            promote(d)
        case BakeInconclusive.HOLD if d.now < bake.deadline + d.spec.rollout.bake.hold_max:
            d.say(f"held: {message}; promote/{d.update.number}/… or abort/{d.update.number}/…")
            d.look_at(bake.deadline + d.spec.rollout.bake.hold_max)
        case _:
            roll_back(d, Reason.BAKE_INCONCLUSIVE, message)
