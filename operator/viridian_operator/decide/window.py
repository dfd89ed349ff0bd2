"""The data window of an update, fixed before anything is trained: no event lost, none used twice."""

from __future__ import annotations

from collections.abc import Mapping

from viridian_operator.api.data import Start
from viridian_operator.api.status import Offsets, Window
from viridian_operator.decide.observation import LogHeads


class WindowImpossible(Exception):
    """No window can be fixed; the text says why and what to do."""


def entries_before(offset: str) -> int:
    """Entries before a position; offsets of every source begin with this number."""
    return int(offset.partition("@")[0])


def origin(heads: LogHeads, start: Start) -> Offsets:
    """Where the first window begins."""
    return dict(heads.offsets if start is Start.LATEST else heads.earliest)


def window_from(start: Offsets, heads: LogHeads) -> Window:
    """All that was appended between ``start`` and the present end of the log.

    Raises
    ------
    WindowImpossible
        If events after ``start`` are no longer in the log, or the log is not the one it was.
    """
    if set(start) != set(heads.offsets):
        raise WindowImpossible(
            f"the log has partitions {sorted(heads.offsets)}, the watermark has {sorted(start)}; "
            "restore the partitions or start a new ModelUpdate"
        )
    for partition, offset in start.items():
        _check_partition(partition, entries_before(offset), heads)
    return Window(start=dict(start), end=dict(heads.offsets))


def _check_partition(partition: str, first: int, heads: LogHeads) -> None:
    end = entries_before(heads.offsets[partition])
    removed = heads.removed.get(partition, 0)
    if end < first:
        raise WindowImpossible(
            f"partition {partition} ends at entry {end}, before the watermark at {first}: the log was replaced"
        )
    if removed > first:
        raise WindowImpossible(
            f"partition {partition} was trimmed to entry {removed}, past the watermark at {first}: "
            f"{removed - first} events were never trained"
        )


def size(window: Window) -> int:
    """Entries in a window."""
    return sum(entries_before(window.end[p]) - entries_before(o) for p, o in window.start.items())


def total(offsets: Mapping[str, str]) -> int:
    """Entries before a set of positions."""
    return sum(entries_before(offset) for offset in offsets.values())
