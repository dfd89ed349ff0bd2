"""A clock that was set back must not make a phase longer than its deadline allows, nor put off its checks."""

from __future__ import annotations

from datetime import datetime, timedelta

from viridian_operator.api.status import Bake, Update
from viridian_operator.decide.draft import Draft

#: clocks of two replicas may differ so much without anything being wrong
TOLERANCE = timedelta(seconds=5)


def follow_clock(d: Draft) -> None:
    """Move the times of the present phase along with a clock that was set back to before one that has passed."""
    if not d.running:
        return
    update, back = d.update, _latest(d.update) - d.now
    if back <= TOLERANCE:
        return
    intent, bake = update.intent, update.bake
    d.put_update(
        phase_since=update.phase_since - back,
        deadline=_earlier(update.deadline, back),
        total_deadline=_earlier(update.total_deadline, back),
        intent=intent.but(deadline=intent.deadline - back) if intent else None,
        bake=_bake(bake, back) if bake else None,
    )


def _latest(update: Update) -> datetime:
    """The newest time that is known to have passed."""
    checks = [result.checked_at for result in update.bake.results] if update.bake else []
    return max([update.phase_since, *(moment for moment in checks if moment)])


def _bake(bake: Bake, back: timedelta) -> Bake:
    return bake.but(
        started_at=bake.started_at - back,
        deadline=bake.deadline - back,
        checked_at=_earlier(bake.checked_at, back),
        results=[result.but(checked_at=_earlier(result.checked_at, back)) for result in bake.results],
    )


def _earlier(moment: datetime | None, back: timedelta) -> datetime | None:
    return moment - back if moment else None
