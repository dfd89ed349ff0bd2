"""Request ``skip-window``: which events are given up."""

from __future__ import annotations

from viridian_operator.api.conditions import Reason
from viridian_operator.api.status import GAPS_LIMIT, Backoff, Gap, Offsets, Window
from viridian_operator.decide.draft import Draft
from viridian_operator.decide.gaps import begin_after, gaps_after
from viridian_operator.decide.observation import LogHeads
from viridian_operator.decide.window import WindowImpossible, check_log, entries_before, from_origin, size, trimmed


class NothingToSkip(Exception):
    """No gap can be recorded; the text says why and what to do."""


def skip_window(d: Draft, reason: str) -> str:
    """Record a gap: only what a trimmed log has lost, else the window that was last tried in vain.

    Raises
    ------
    NothingToSkip
        If nothing is lost and nothing was tried, or the log cannot be read.
    """
    heads, champion = d.seen.heads, d.status.champion
    if heads is None:
        raise NothingToSkip(f"the event log cannot be read: {d.seen.heads_error or 'it was not read yet'}; ask again")
    start = begin_after(champion, d.status.gaps) if champion else from_origin(d.status.origin, heads)
    window = _lost_or_attempted(d, start, heads)
    gap = Gap(start=window.start, end=window.end, events=size(window), reason=reason, at=d.now)
    d.put(gaps=_bounded(d, gap), backoff=Backoff(attempted_total=d.status.backoff.attempted_total))
    if champion is None:
        # no lineage has begun yet, so that its first window begins behind the gap
        d.put(origin={**start, **gap.end})
    told = f"{gap.events} events are never trained: {reason}"
    d.note(Reason.WINDOW_SKIPPED, told, warn=True)
    return told


def _lost_or_attempted(d: Draft, start: Offsets, heads: LogHeads) -> Window:
    if not start:
        raise NothingToSkip("no update has started yet, so there is no window to skip")
    try:
        check_log(start, heads)
    except WindowImpossible as problem:
        raise NothingToSkip(str(problem)) from None
    if lost := trimmed(start, heads):
        return lost
    tried = {p: o for p, o in d.status.backoff.attempted.items() if entries_before(o) > entries_before(start[p])}
    if not tried:
        raise NothingToSkip("nothing is lost, and no update tried the events after the watermark in vain: run/… first")
    return Window(start={p: start[p] for p in tried}, end=tried)


def _bounded(d: Draft, gap: Gap) -> list[Gap]:
    """The list with ``gap``; gaps that the next window still begins behind are never dropped."""
    needed = gaps_after(d.status.champion, d.status.gaps) if d.status.champion else []
    if len(needed) >= GAPS_LIMIT:
        raise NothingToSkip(f"{GAPS_LIMIT} windows in a row were skipped already: retrain/… or look at the data")
    return [*d.status.gaps, gap][-GAPS_LIMIT:]
