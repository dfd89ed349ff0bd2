"""Which revision the active Service has to select."""

from __future__ import annotations

from viridian_operator.api.status import Phase, Revision
from viridian_operator.decide.draft import Draft
from viridian_operator.decide.revisions import switched_to
from viridian_operator.decide.scaling import fully_ready

#: phases in which the previous revision stands by for a rollback, which has rules of its own
_FOR_A_ROLLBACK = frozenset({Phase.BAKING, Phase.ROLLING_BACK})


def traffic_target(d: Draft) -> Revision | None:
    """The revision that has to get the traffic now: never one without a ready endpoint while one that passed
    everything has some.

    A revision that lost all its pods after its bake is stood in for by the previous one, if that is kept, until
    it is complete again; a crash loop would otherwise be an outage beside pods that could serve.
    """
    target, previous = _wanted(d), d.status.previous
    if target is None or previous is None or target.hash == previous.hash:
        return target
    if d.spec.serving.replicas == 0 or (d.running and d.update.phase in _FOR_A_ROLLBACK):
        return target
    stands_in, ready = stood_in_for(d), d.seen.ready_of(target.hash)
    if ready >= (_full_size(d, target) if stands_in else 1):
        return target
    if d.seen.ready_of(previous.hash):
        return previous
    # nobody answers: the selector stays where it was put, whoever has edited it, until somebody does
    return previous if _was_given(d, previous) and not ready else target


def stood_in_for(d: Draft) -> bool:
    """Whether the previous revision has the traffic, edits of the selector apart, and is not being rolled back to."""
    active, previous = d.status.active, d.status.previous
    if active is None or previous is None or (d.running and d.update.phase in _FOR_A_ROLLBACK):
        return False
    if active.hash == previous.hash:
        return False  # two versions in the same pods: none of both can stand in for the other
    if _is_known(d):
        return _was_given(d, previous)
    # the Service is gone, and who had the traffic with it
    return bool(d.seen.ready_of(previous.hash)) and not d.seen.ready_of(active.hash)


def _is_known(d: Draft) -> bool:
    return d.seen.active_service is not None and bool(d.seen.active_service.recorded)


def _was_given(d: Draft, revision: Revision) -> bool:
    """Whether the operator's last write gave the traffic to ``revision``."""
    return d.seen.active_service is not None and d.seen.active_service.recorded == revision.hash


def _full_size(d: Draft, revision: Revision) -> int:
    deployment = d.seen.deployment_of(revision.hash)
    return max(1, deployment.replicas if deployment else 1)


def _wanted(d: Draft) -> Revision | None:
    status = d.status
    if d.running and d.update.phase is Phase.SWITCHING and d.update.green:
        green = d.update.green
        return green if switched_to(d, green) or fully_ready(d, green) else status.active
    if d.running and d.update.phase is Phase.ROLLING_BACK and status.previous:
        return _way_back(d, status.previous)
    return status.active


def _way_back(d: Draft, blue: Revision) -> Revision | None:
    """Owed while blue has no ready endpoint: traffic stays where endpoints are ready, or was put if none are."""
    green = d.status.active
    nothing_left = green is None or not d.seen.ready_of(green.hash)
    return blue if d.seen.ready_of(blue.hash) or (nothing_left and _was_given(d, blue)) else green
