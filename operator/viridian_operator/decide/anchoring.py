"""Anchors of strategy ``Online``: versions that the online trainer registered, judged like any other.

What an anchor holds serves already, so nothing is rolled out: a Pass makes it champion, a Reject brings replicas back.
"""

from __future__ import annotations

from viridian_operator.api.status import Champion, Window
from viridian_operator.api.version import ModelRef
from viridian_operator.decide.draft import Draft
from viridian_operator.decide.observation import LogHeads, RegisteredVersion
from viridian_operator.decide.online import begin_anew
from viridian_operator.decide.starting import refuse_anchor, start_anchor
from viridian_operator.decide.tags import VERDICT
from viridian_operator.decide.window import WindowImpossible, check_log, size


def judge_anchor(d: Draft) -> None:
    """Start the update that judges the anchor which waits, once enough events came that it has not seen."""
    pending = pending_anchor(d)
    if pending is None or d.status.champion is None:
        return
    registry, asked = d.seen.registry, f"version:{pending.version}"
    if registry.asked == asked and registry.version is not None:
        _consider(d, pending, registry.version, d.status.champion)
    elif registry.lacks(asked):
        d.waiting = f"anchor {pending.version} is gone from the registry; the next one covers its events"
    else:
        d.ask_again()
        if not registry.error:
            d.look_at(d.now)  # the next pass asks for it


def pending_anchor(d: Draft) -> ModelRef | None:
    """The anchor that waits for its verdict, unless the registry is owed that, or something, already."""
    online, champion = d.status.online, d.status.champion
    if online is None or online.pending is None or d.status.owed_tags:
        return None
    return None if champion and online.pending.digest == champion.digest else online.pending


def _consider(d: Draft, pending: ModelRef, found: RegisteredVersion, champion: Champion) -> None:
    if VERDICT in found.tags:
        return  # judged; the trainer hears of it
    if problem := _unfit(d, pending, found, champion):
        refuse_anchor(d, found, problem)
        begin_anew(d, champion)
        return
    heads = d.seen.heads
    if heads is None:
        d.waiting = f"anchor {found.version} waits for the event log: {d.seen.heads_error or 'not read yet'}"
        d.ask_again()
        return
    _judge_behind(d, found, heads)


def _unfit(d: Draft, pending: ModelRef, found: RegisteredVersion, champion: Champion) -> str:
    """Why it is no anchor of this lineage: events would be lost or used twice; "" if it is one."""
    start = found.window.start if found.window else {}
    expected: dict[str, tuple[object, object]] = {
        "digest": (pending.digest, found.digest),
        "update": (True, found.update.startswith(f"{d.seen.uid}/online/")),
        "parent": (champion.digest, found.parent),
        "begin of the window": (champion.watermark, start),
        "end of the window": (found.trained_to, found.window.end if found.window else {}),
    }
    for what, (wanted, there) in expected.items():
        if wanted != there:
            return f"anchor {found.version} has another {what} than the champion's lineage needs: {there!r}"
    return ""


def _judge_behind(d: Draft, found: RegisteredVersion, heads: LogHeads) -> None:
    try:
        check_log(found.trained_to, heads)
    except WindowImpossible as problem:
        refuse_anchor(d, found, str(problem))
        return
    window = Window(start=dict(found.trained_to), end=dict(heads.offsets))
    missing = d.spec.gate.min_events - size(window)
    if missing > 0:
        d.look_when(heads.total + missing)
        d.waiting = f"anchor {found.version} is judged after {missing} more events, which it has not seen"
        return
    start_anchor(d, found, window)
