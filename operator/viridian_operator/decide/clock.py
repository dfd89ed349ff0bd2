"""A clock that was set back must not make a phase longer than its deadline allows."""

from __future__ import annotations

from datetime import datetime, timedelta

from viridian_operator.api.status import Bake
from viridian_operator.decide.draft import Draft

#: clocks of two replicas may differ so much without anything being wrong
TOLERANCE = timedelta(seconds=5)


def follow_clock(d: Draft) -> None:
    """Move the times of the present phase along with a clock that was set back to before its beginning."""
    if not d.running or d.now >= d.update.phase_since - TOLERANCE:
        return
    update, back = d.update, d.update.phase_since - d.now
    intent, bake = update.intent, update.bake
    d.put_update(
        phase_since=d.now,
        deadline=_earlier(update.deadline, back),
        intent=intent.but(deadline=intent.deadline - back) if intent else None,
        bake=_bake(bake, back) if bake else None,
    )


def _bake(bake: Bake, back: timedelta) -> Bake:
    return bake.but(
        started_at=bake.started_at - back,
        deadline=bake.deadline - back,
        checked_at=_earlier(bake.checked_at, back),
        results=[result.but(checked_at=_earlier(result.checked_at, back)) for result in bake.results],
    )


def _earlier(moment: datetime | None, back: timedelta) -> datetime | None:
    return moment - back if moment else None
