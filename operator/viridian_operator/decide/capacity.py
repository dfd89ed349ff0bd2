"""Where the second revision finds room."""

from __future__ import annotations

from viridian_operator.api.rollout import Capacity
from viridian_operator.api.status import Update


def replaces(update: Update | None) -> bool:
    """Whether what serves stops before the candidate starts: ``Recreate``, an outage that a person chose.

    It waives that a ready endpoint is always selected and that the old revision keeps its size, from
    ``Preparing`` until the bake has ended and in a rollback; identity, golden requests, gate, intent and
    quarantine hold as ever.
    """
    return update is not None and update.capacity == Capacity.RECREATE
