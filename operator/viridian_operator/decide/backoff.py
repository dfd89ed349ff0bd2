"""Waiting after updates that came to nothing."""

from __future__ import annotations

from viridian_operator.decide.draft import Draft
from viridian_operator.decide.ending import REJECTION_LIMIT


def backing_off(d: Draft) -> bool:
    """Whether the next try has to wait; wakes the next pass when it need not any more."""
    until = d.status.backoff.until
    if until is None or d.now >= until:
        return False
    d.look_at(until)
    return True


def repeatedly_rejected(d: Draft) -> str:
    """Why nothing is tried again without a person; "" if it is."""
    failures = d.status.backoff.failures
    if failures < REJECTION_LIMIT:
        return ""
    last = d.status.update.message if d.status.update else ""
    return (
        f"{failures} updates in a row came to nothing, the last one: {last}; request retry/… or wait for much new data"
    )
