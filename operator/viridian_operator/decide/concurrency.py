"""What a schedule or a changed spec does that comes while an update is under way.

Numbers of events, ages and drift are states, not moments: they are looked at again when the update has ended.
"""

from __future__ import annotations

from viridian_operator.api.conditions import Reason
from viridian_operator.api.spec import Strategy
from viridian_operator.api.status import TRAINS, Kind, Phase, Trigger
from viridian_operator.api.trigger import Concurrency
from viridian_operator.decide.draft import Draft
from viridian_operator.decide.due import plan, scheduled, spec_changed
from viridian_operator.decide.ending import finish
from viridian_operator.decide.hashing import inputs_hash

#: phases in which a newer trigger may still replace the update: no traffic moves, and nobody has been asked
_REPLACEABLE = frozenset({Phase.QUEUED, Phase.TRAINING, Phase.EVALUATING, Phase.PREPARING, Phase.VERIFYING})


def meet_triggers(d: Draft) -> None:
    """Let a trigger replace the running update, wait for its end, or come to nothing, as ``concurrency`` says."""
    if d.spec.strategy is Strategy.REGISTRY or d.spec.suspend or d.spec.pin is not None or d.seen.deleting:
        return
    if d.update.kind is Kind.ANCHOR:
        return  # judging what serves already stands in nobody's way
    trigger = spec_changed(d) or scheduled(d)
    if trigger is None:
        return
    # it has been met, and does not ask again
    d.put(seen={**d.status.seen, "inputs": inputs_hash(d.spec)})
    plan(d)
    match d.spec.trigger.concurrency:
        case Concurrency.FORBID:
            message = f"{trigger.kind} came while update {d.update.number} is under way: concurrency Forbid"
            d.note(Reason.TRIGGER_SKIPPED, message)
        case Concurrency.REPLACE if d.update.kind in TRAINS and d.update.phase in _REPLACEABLE:
            _replace(d, trigger)
        case _:
            _queue(d, trigger)


def _replace(d: Draft, trigger: Trigger) -> None:
    """A person's request that is cut off is begun anew: with the present spec and the newest events."""
    replaced = d.update.trigger
    finish(d, Phase.SUPERSEDED, Reason.SUPERSEDED, f"replaced by a newer trigger: {trigger.kind}")
    _queue(d, replaced.but(at=d.now) if replaced.kind == Reason.REQUESTED else trigger)


def _queue(d: Draft, trigger: Trigger) -> None:
    """The newest trigger waits; what a person asked for is not pushed out by it, and answers both."""
    pending = d.status.pending_trigger
    if pending is None or pending.kind != Reason.REQUESTED:
        d.put(pending_trigger=trigger)
