"""The data window of an update, fixed before anything is trained: no event lost, none used twice."""

from __future__ import annotations

from collections.abc import Mapping

from viridian_operator.api.data import Data, Start
from viridian_operator.api.status import Offsets, Window
from viridian_operator.decide.observation import LogHeads


class WindowImpossible(Exception):
    """No window can be fixed; the text says why and what to do."""


def entries_before(offset: str) -> int:
    """Entries before a position; offsets of every source begin with this number."""
    return int(offset.partition("@")[0])


def origin(heads: LogHeads, data: Data, *, first: bool = True) -> Offsets | None:
    """Where the first window begins; None if that was not counted yet.

    Parameters
    ----------
    first
        Whether no window began there yet; what was trained once may since have been trimmed.

    Raises
    ------
    WindowImpossible
        If ``data.startOffsets`` are no positions of this log, or before events that it has lost.
    """
    if data.start is Start.LATEST:
        return dict(heads.offsets)
    if data.start is Start.OFFSETS:
        named = dict(data.start_offsets or {})
        if problem := _no_position(named, heads, first=first):
            raise WindowImpossible(f"data.startOffsets: {problem}")
        return named
    return dict(heads.earliest) if not shares(heads, data.max_events) else dict(heads.newest) or None


def _no_position(named: Offsets, heads: LogHeads, *, first: bool) -> str:
    """Why a window cannot begin there; "" if it can."""
    if set(named) != set(heads.offsets):
        return f"they name partitions {sorted(named)}, the log has {sorted(heads.offsets)}: name each of them"
    for partition, offset in named.items():
        entry, end = entries_before(offset), entries_before(heads.offsets[partition])
        if entry > end:
            return f"partition {partition} holds {end} entries, {offset} is behind them: name a position in the log"
        if first and entry < heads.removed.get(partition, 0):
            earliest = heads.earliest[partition]
            return f"events behind {offset} of partition {partition} were trimmed: name {earliest} or a later position"
    return ""


def shares(heads: LogHeads, at_most: int | None) -> dict[str, int]:
    """How many of the newest ``at_most`` entries each partition gives, in proportion to what it holds; {} if the log
    holds no more than that.

    Rounded by largest remainders, so that they add up exactly.
    """
    held = {p: entries_before(o) - heads.removed.get(p, 0) for p, o in heads.offsets.items()}
    everything = sum(held.values())
    if at_most is None or everything <= at_most:
        return {}
    parts = {p: count * at_most // everything for p, count in held.items()}
    by_remainder = sorted(held, key=lambda p: (-(held[p] * at_most % everything), p))
    for partition in by_remainder[: at_most - sum(parts.values())]:
        parts[partition] += 1
    return parts


def from_origin(start: Offsets, heads: LogHeads) -> Offsets:
    """Where a full update begins: at the origin, or at what a trimmed log still holds."""
    begin = dict(start)
    for partition, earliest in heads.earliest.items():
        if partition in begin and entries_before(earliest) > entries_before(begin[partition]):
            begin[partition] = earliest
    return begin


def window_from(start: Offsets, heads: LogHeads) -> Window:
    """All that was appended between ``start`` and the present end of the log.

    Raises
    ------
    WindowImpossible
        If events after ``start`` are no longer in the log, or the log is not the one it was.
    """
    check_log(start, heads)
    if lost := trimmed(start, heads):
        raise WindowImpossible(
            f"{_told(start, lost)}: {size(lost)} events were never trained; request skip-window/REASON/… to give them "
            "up and go on with the rest, or retrain/… to start a new lineage"
        )
    return Window(start=dict(start), end=dict(heads.offsets))


def _told(start: Offsets, lost: Window) -> str:
    first, rest = min(lost.end), len(lost.end) - 1
    where = f"partition {first}" + (f" and {rest} others" if rest else "")
    begin, end = entries_before(start[first]), entries_before(lost.end[first])
    return f"{where} of the log was trimmed to entry {end}, past the watermark at {begin}"


def check_log(start: Offsets, heads: LogHeads) -> None:
    """The log is the one that ``start`` is a position of.

    Raises
    ------
    WindowImpossible
        If it has other partitions, or ends before ``start``.
    """
    if set(start) != set(heads.offsets):
        raise WindowImpossible(
            f"the log has partitions {sorted(heads.offsets)}, the watermark has {sorted(start)}; "
            "restore the partitions or start a new ModelUpdate"
        )
    for partition, offset in start.items():
        end, first = entries_before(heads.offsets[partition]), entries_before(offset)
        if end < first:
            raise WindowImpossible(
                f"partition {partition} ends at entry {end}, before the watermark at {first}: the log was replaced; "
                "request retrain/… to start a new lineage"
            )


def trimmed(start: Offsets, heads: LogHeads) -> Window | None:
    """What is after ``start`` and no longer in the log, in the partitions that lost something; None if nothing is."""
    behind = {p for p, offset in start.items() if heads.removed.get(p, 0) > entries_before(offset)}
    if not behind:
        return None
    return Window(start={p: start[p] for p in behind}, end={p: heads.earliest[p] for p in behind})


def size(window: Window) -> int:
    """Entries in a window."""
    return sum(entries_before(window.end[p]) - entries_before(o) for p, o in window.start.items())


def total(offsets: Mapping[str, str]) -> int:
    """Entries before a set of positions."""
    return sum(entries_before(offset) for offset in offsets.values())
