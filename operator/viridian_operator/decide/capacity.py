"""Where the second revision finds room."""

from __future__ import annotations

from viridian_operator.api.rollout import Capacity
from viridian_operator.api.serving import IdentityPolicy
from viridian_operator.api.spec import ModelUpdateSpec
from viridian_operator.api.status import Update


def replaces(update: Update | None) -> bool:
    """Whether what serves stops before the candidate starts: ``Recreate``, an outage that a person chose.

    It waives that a ready endpoint is always selected and that the old revision keeps its size, from
    ``Preparing`` until the bake has ended and in a rollback; identity, golden requests, gate, intent and
    quarantine hold as ever.
    """
    return update is not None and update.capacity == Capacity.RECREATE


def swaps(update: Update | None) -> bool:
    """Whether the pods that serve load the candidate beside what they serve: one Deployment, one revision hash, two
    versions. A ready pod answers ``from`` or ``to``, and only ``to`` after the switch."""
    return update is not None and update.hot_swap


def takes_versions(spec: ModelUpdateSpec) -> bool:
    """Whether a Deployment that is made now takes other versions later, without a restart of its pods."""
    may = spec.rollout.capacity in (Capacity.HOT_SWAP, Capacity.AUTO)
    return may and spec.serving.identity is IdentityPolicy.DIGEST
