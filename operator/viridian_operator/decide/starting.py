"""How an update starts: its number, window, parent and kind are fixed before anything is made."""

from __future__ import annotations

from viridian_operator.api.conditions import Reason
from viridian_operator.api.spec import ModelUpdateSpec, Strategy
from viridian_operator.api.status import (
    Candidate,
    Champion,
    Kind,
    ModelUpdateStatus,
    Phase,
    Quarantined,
    Revision,
    Trigger,
    Update,
    Window,
)
from viridian_operator.api.training import Begin, Training
from viridian_operator.decide.draft import Draft
from viridian_operator.decide.ending import finish
from viridian_operator.decide.gaps import begin_after
from viridian_operator.decide.hashing import follows_chain
from viridian_operator.decide.jobs import begin_attempts
from viridian_operator.decide.numbering import next_number
from viridian_operator.decide.observation import RegisteredVersion
from viridian_operator.decide.preparing import prepare
from viridian_operator.decide.scaling import scale
from viridian_operator.decide.window import WindowImpossible, from_origin, origin, size, total, window_from


def _begin(d: Draft, kind: Kind, trigger: Trigger, **fields: object) -> None:
    update = Update(
        number=next_number(d.status),
        kind=kind,
        trigger=trigger,
        phase=Phase.QUEUED,
        started_at=d.now,
        phase_since=d.now,
        capacity=d.spec.rollout.capacity,
        **fields,
    )
    d.put(update=update, pending_trigger=None)


def start_training(d: Draft, trigger: Trigger, *, full: bool = False) -> None:
    """Fix the window and queue the training Job; without a readable log the trigger stays pending."""
    training, data, heads = d.spec.training, d.spec.data, d.seen.heads
    if training is None or data is None:
        d.stalled = (Reason.INVALID_SPEC, "spec.training and spec.data are needed to train")
        return
    champion = d.status.champion
    try:
        begin = (d.status.origin or origin(heads, data, first=champion is None)) if heads else None
    except WindowImpossible as problem:
        _refuse(d, Reason.INVALID_SPEC, str(problem))
        return
    if heads is None or begin is None:
        d.put(pending_trigger=trigger)
        d.stalled = None
        d.ask_again()
        return
    d.put(origin=begin)
    # a champion that was trained elsewhere may have no watermark that an increment could begin at
    warm = not full and _begins_warm(d.spec.strategy, training, d.status.since_full)
    parent = champion if warm and champion is not None and champion.watermark else None
    if parent is not None and (entry := d.status.quarantined(parent.digest)):
        _refuse(d, Reason.QUARANTINED, _tainted(parent, entry))
        return
    try:
        start = begin_after(parent, d.status.gaps) if parent else from_origin(d.status.origin, heads)
        window = window_from(start, heads)
    except WindowImpossible as problem:
        _refuse(d, Reason.DATA_TRIMMED, str(problem))
        return
    if size(window) == 0:
        d.put(pending_trigger=None)
        if trigger.kind == Reason.REQUESTED:
            d.note(Reason.NO_NEW_DATA, "nothing was started: the log holds no events after the watermark", warn=True)
        return
    _queue(d, trigger, window, parent, heads.total, training)


def _begins_warm(strategy: Strategy, training: Training, since_full: int) -> bool:
    """Whether an update begins with the champion; with strategy Online its increments are made beside the updates."""
    if strategy is Strategy.ONLINE or (strategy is Strategy.PERIODIC and training.start is not Begin.WARM):
        return False
    return since_full + 1 < training.full_retrain_every


def _refuse(d: Draft, reason: Reason, message: str) -> None:
    """Nothing starts; whoever reads the message has to do something first."""
    d.put(pending_trigger=None)
    d.stalled = (reason, message)


def _tainted(parent: Champion, entry: Quarantined) -> str:
    return (
        f"an increment would start from version {parent.version}, which is in quarantine: {entry.reason}; request "
        f"retrain/… to start from nothing, or unquarantine/{parent.version}/…"
    )


def _queue(d: Draft, trigger: Trigger, window: Window, parent: Champion | None, total: int, training: Training) -> None:
    champion = d.status.champion
    kind = Kind.INCREMENTAL if parent else Kind.FULL
    fresh = begin_after(champion, d.status.gaps) if champion and champion.watermark else None
    model, split = parent.model if parent else None, d.spec.gate.split.value
    _begin(d, kind, trigger, window=window, fresh=fresh, total=total, parent=model, split=split)
    begin_attempts(d, Phase.QUEUED, "waiting for its Job to be created", training.deadlines)
    why = f": {trigger.detail}" if trigger.kind in (Reason.DRIFT, Reason.WATERMARK_AGE) else ""
    d.note(Reason.QUEUED, f"update {d.update.number} ({kind}, {trigger.kind}): {size(window)} events{why}")


def _candidate_of(revision: Revision) -> Candidate:
    return Candidate(
        version=revision.version, digest=revision.digest, event_time=revision.event_time, graph=revision.graph
    )


def _registered(version: RegisteredVersion, holdout: Window | None = None) -> Candidate:
    return Candidate(
        version=version.version,
        digest=version.digest,
        event_time=version.event_time,
        trained_to=version.trained_to,
        holdout=holdout,
        graph=version.graph,
    )


def start_redeploy(d: Draft, trigger: Trigger) -> None:
    """The same version with the new serving template: no training, no gate, the rest of the protocol."""
    candidate = to_redeploy(d.spec, d.status)
    if candidate is None:
        return
    _begin(d, Kind.REDEPLOY, trigger, candidate=candidate)
    prepare(d)


def to_redeploy(spec: ModelUpdateSpec, status: ModelUpdateStatus) -> Candidate | None:
    """What serves; where pods are to follow a chain, the champion, since that is what a chain begins with."""
    active, champion = status.active, status.champion
    if active is None or not follows_chain(spec) or champion is None or champion.model == active.model:
        return _candidate_of(active) if active else None
    return Candidate(
        version=champion.version,
        digest=champion.digest,
        event_time=champion.event_time,
        trained_to=champion.watermark,
    )


def start_pin(d: Draft, trigger: Trigger, version: RegisteredVersion) -> None:
    """Serve exactly this version, also out of quarantine: the pin carries a person's reason."""
    candidate = _registered(version)
    _begin(d, Kind.PIN, trigger, candidate=candidate)
    prepare(d)


def start_follow(d: Draft, trigger: Trigger, version: RegisteredVersion, window: Window | None, total: int) -> None:
    """A version that was trained elsewhere: judged on events that it cannot have seen, if there is a gate."""
    candidate = _registered(version, window)
    d.wake_off_version = None  # its end is followed by another look
    parent = d.status.champion.model if d.status.champion else None
    fields = {"window": window, "total": total if window else None, "parent": parent}
    _begin(d, Kind.FOLLOW, trigger, candidate=candidate, **fields)
    gate = f" on {size(window)} events" if window else " without a gate"
    d.note(Reason.QUEUED, f"update {d.update.number} rolls out version {version.version}, {trigger.detail},{gate}")
    if window is None:
        prepare(d)
    else:
        begin_attempts(d, Phase.EVALUATING, "waiting for the evaluation Job", d.spec.evaluation.deadlines)


def start_anchor(d: Draft, version: RegisteredVersion, window: Window) -> None:
    """What the online trainer registered is judged on the events of ``window``, which came after it was made."""
    _begin_anchor(d, version, window)
    begin_attempts(d, Phase.EVALUATING, "waiting for the evaluation Job", d.spec.evaluation.deadlines)


def refuse_anchor(d: Draft, version: RegisteredVersion, problem: str) -> None:
    """It cannot be judged, which the trainer hears like any verdict, and makes another one."""
    _begin_anchor(d, version, None)
    finish(d, Phase.FAILED, Reason.RESULT_MISMATCH, problem)


def _begin_anchor(d: Draft, version: RegisteredVersion, window: Window | None) -> None:
    candidate = _registered(version, window)
    sequence = version.update.rpartition("/")[2]
    parent = d.status.champion.model if d.status.champion else None
    pending = d.status.pending_trigger  # waits on: nothing that it asks for is done by judging
    trigger = Trigger(kind=Reason.ANCHOR, detail=f"sequence {sequence}", at=d.now)
    fields = {"window": window, "total": total(version.trained_to), "parent": parent}
    _begin(d, Kind.ANCHOR, trigger, candidate=candidate, **fields)
    d.put(pending_trigger=pending)


def start_rollback(d: Draft, trigger: Trigger) -> None:
    """Back to the previous revision on request: it is scaled to the active size first, unless it is in the memory of
    the pods that serve."""
    previous, active = d.status.previous, d.status.active
    if previous is None:
        return
    green = previous.but(until=None)
    in_memory = active is not None and active.hash == previous.hash
    _begin(d, Kind.ROLLBACK, trigger, candidate=_candidate_of(green), green=green, hot_swap=in_memory)
    if not in_memory:
        d.put(preview=green)  # it stays previous, too: it may have the traffic, or get it before the switch
    scale(d)
    d.note(
        Reason.ROLLING_BACK,
        f"update {d.update.number} goes back to version {green.version} on request",
        warn=True,
    )
