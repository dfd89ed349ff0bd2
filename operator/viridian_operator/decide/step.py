"""One pass: from what was seen to what should be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from viridian_operator.api.conditions import Reason, Type, set_condition
from viridian_operator.api.spec import ModelUpdateSpec
from viridian_operator.api.status import ModelUpdateStatus, Phase
from viridian_operator.decide.aliases import check_aliases
from viridian_operator.decide.baking import baking
from viridian_operator.decide.capacity import swaps
from viridian_operator.decide.clock import follow_clock
from viridian_operator.decide.concurrency import meet_triggers
from viridian_operator.decide.decision import Decision
from viridian_operator.decide.draft import Draft
from viridian_operator.decide.evaluating import evaluating
from viridian_operator.decide.hot_swapping import flipping, flipping_back, gathering, staging
from viridian_operator.decide.hot_swapping import verifying as verifying_loaded
from viridian_operator.decide.invariants import violations
from viridian_operator.decide.observation import Observation
from viridian_operator.decide.online import follow_online
from viridian_operator.decide.preparing import awaiting_approval, preparing, verifying
from viridian_operator.decide.recovery import recover
from viridian_operator.decide.requests import answer_request
from viridian_operator.decide.rolling_back import rolling_back
from viridian_operator.decide.scaling import scaling, switching
from viridian_operator.decide.summary import summarise
from viridian_operator.decide.tags import check_tags
from viridian_operator.decide.training import queued, training
from viridian_operator.decide.triggers import idle
from viridian_operator.decide.upkeep import plan

#: seconds after which an update is looked at although no watch told of a change: events get lost
LONGEST_BLINDNESS = 10.0

_PHASES: dict[Phase, Callable[[Draft], None]] = {
    Phase.QUEUED: queued,
    Phase.TRAINING: training,
    Phase.EVALUATING: evaluating,
    Phase.PREPARING: preparing,
    Phase.VERIFYING: verifying,
    Phase.AWAITING_APPROVAL: awaiting_approval,
    Phase.SCALING: scaling,
    Phase.SWITCHING: switching,
    Phase.BAKING: baking,
    Phase.ROLLING_BACK: rolling_back,
}
#: what takes their place in a hot swap
_PHASES_OF_A_SWAP: dict[Phase, Callable[[Draft], None]] = {
    Phase.PREPARING: staging,
    Phase.VERIFYING: verifying_loaded,
    Phase.SCALING: gathering,
    Phase.SWITCHING: flipping,
    Phase.ROLLING_BACK: flipping_back,
}


def decide(
    spec: ModelUpdateSpec,
    status: ModelUpdateStatus,
    seen: Observation,
    now: datetime,
    problems: Sequence[str] = (),
) -> Decision:
    """The next status and the actions that follow from it.

    Parameters
    ----------
    spec, status
        As the API server holds them.
    seen
        The live picture of this pass.
    now
        The clock.
    problems
        Why ``spec`` cannot be followed; what serves goes on serving, nothing new starts.
    """
    d = Draft(spec=spec, seen=seen, now=now, status=status, violated=violations(spec, status, seen))
    if seen.taken:
        d.stalled = (Reason.NAME_TAKEN, _taken(seen))
    elif problems:
        d.stalled = (Reason.INVALID_SPEC, "; ".join(problems))
    recover(d)
    if not seen.deleting:
        follow_online(d)
    if not seen.taken:
        _advance(d, blocked=bool(problems))
    if d.running:
        d.look_after(LONGEST_BLINDNESS)
    check_aliases(d)
    check_tags(d)
    actions = plan(d) if not seen.taken else ()
    summarise(d)
    if _moved(status, d.status):
        # the next phase needs a fresh observation
        d.look_at(now)
    return Decision(
        status=d.status,
        actions=actions,
        notes=tuple(d.notes),
        wake_at=d.wake_at,
        wake_at_total=d.wake_at_total,
        wake_off_version=d.wake_off_version,
        wake_off_drift=d.wake_off_drift,
        violated=tuple(violation.invariant for violation in d.violated),
        reason=d.status.message,
    )


def _taken(seen: Observation) -> str:
    names = ", ".join(seen.taken)
    return (
        f"{names} exist and do not belong to this ModelUpdate: "
        "delete them, choose other names in spec.serving.services, or rename it"
    )


def _advance(d: Draft, *, blocked: bool) -> None:
    """Requests first, then the phase; an update under way goes on even when the new spec is bad."""
    follow_clock(d)
    answer_request(d)
    if d.running:
        meet_triggers(d)
    if d.running:
        of_a_swap = _PHASES_OF_A_SWAP if swaps(d.update) else {}
        of_a_swap.get(d.update.phase, _PHASES[d.update.phase])(d)
    elif not blocked:
        idle(d)


def _moved(old: ModelUpdateStatus, new: ModelUpdateStatus) -> bool:
    def place(status: ModelUpdateStatus) -> tuple[object, ...]:
        update = status.update
        return (update.number, update.phase, update.attempts) if update else ()

    return place(old) != place(new)


def refuse(status: ModelUpdateStatus, problem: str, generation: int, now: datetime) -> ModelUpdateStatus:
    """Status of a ModelUpdate whose spec cannot be read at all; everything else in it stays."""
    conditions = set_condition(
        status.conditions, Type.STALLED, True, Reason.INVALID_SPEC, problem, generation=generation, now=now
    )
    return status.but(conditions=conditions, message=problem, observed_generation=generation)
