"""Split of a window by time: what the candidate trains on, and the newest slice that judges it.

The training part is a prefix of every partition in the order of appending, so that the end of training is
an offset and the held-out slice is the head of the next window. The cut is the (1 - fraction) quantile of
all event times: as many entries of a partition are trained on as it has entries up to that time. One event
with a wrong clock therefore moves the cut by one entry and not further.

With a prequential split the newest slice is cut once more: all of it but a tail is trained on after it was
predicted, and the tail, which judges the final weights, is the head of the next window.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from viridian_model.schema import Schema
from viridian_trainer.errors import BadData
from viridian_trainer.eventlog import EventLog, Offset, Window, read

#: Part of the newest slice that a prequential training leaves untrained, and the least number of its events.
TAIL_SHARE, TAIL_EVENTS = 0.2, 100

_MARK_EVERY = 1024


@dataclass(frozen=True)
class Split:
    """The two parts of a window and the number of entries that are no events.

    ``predicted`` is the last part of ``train``: what the candidate predicts before it trains on it; nothing
    of the kind where only the holdout judges.
    """

    train: Window
    holdout: Window
    rejected: int = 0
    predicted: Window | None = None


@dataclass
class _Partition:
    """Times of the entries of one partition and the offset before every 1024th of them."""

    times: array[float] = field(default_factory=lambda: array("d"))
    marks: list[Offset] = field(default_factory=list)


def tail_size(events: int) -> int:
    """How many of the ``events`` of the newest slice a prequential training leaves untrained: never more than half."""
    return max(round(TAIL_SHARE * events), min(TAIL_EVENTS, events // 2))


def predicted_window(result: Mapping[str, Any]) -> Window | None:
    """What was predicted before it was trained on, by the result of a training; None after another split."""
    start = result.get("predictedFrom")
    return Window(start, result["trainedTo"]) if start else None


def split_by_time(
    log: EventLog,
    window: Window,
    schema: Schema,
    fraction: float,
    max_rejected: float,
    *,
    prequential: bool = False,
) -> Split:
    """Read ``window`` once, keep unreadable entries aside, and cut it at the time quantile ``1 - fraction``,
    with ``prequential`` also at the beginning of the tail.

    Raises
    ------
    BadData
        If more than ``max_rejected`` of the entries are unreadable, or nothing is left to train on.
    DataTrimmed
        If the log does not hold what the window promises.
    """
    surveyed = {name: _Partition() for name in window.partitions}
    position = dict(window.start)
    rejected, example = 0, ""
    for entry in read(log, window, schema):
        partition = surveyed[entry.partition]
        if len(partition.times) % _MARK_EVERY == 0:
            partition.marks.append(position[entry.partition])
        if entry.event is None:
            rejected, example = rejected + 1, example or f"{entry.rejection} at {entry.offset_after}"
            log.reject(entry.record, entry.rejection)
        partition.times.append(entry.event.time if entry.event else _last(partition.times))
        position[entry.partition] = entry.offset_after
    _check(window, rejected, max_rejected, example, log.dead_letters)
    times = np.concatenate([np.frombuffer(part.times, dtype=np.float64) for part in surveyed.values() if part.times])
    readable = np.sort(times[np.isfinite(times)])
    held = round(fraction * len(readable))
    cut = _cut(log, window, surveyed, readable, held)
    if not prequential:
        return Split(Window(window.start, cut), Window(cut, window.end), rejected)
    end = _cut(log, window, surveyed, readable, tail_size(held))
    return Split(Window(window.start, end), Window(end, window.end), rejected, Window(cut, end))


def _last(times: array[float]) -> float:
    return times[-1] if times else float("-inf")


def _check(window: Window, rejected: int, max_rejected: float, example: str, dead: str) -> None:
    counts = {"rejected": rejected}
    if window.total == rejected:
        why = f"; {example}; they are kept in {dead}" if example else ""
        raise BadData(f"the window holds no readable event ({window.total} entries{why})", counts)
    if rejected > max_rejected * window.total:
        raise BadData(
            f"{rejected} of {window.total} entries are unreadable, data.maxRejected allows {max_rejected:g}: "
            f"{example}; they are kept in {dead}",
            counts,
        )


def _cut(
    log: EventLog,
    window: Window,
    surveyed: Mapping[str, _Partition],
    readable: NDArray[np.float64],
    held: int,
) -> dict[str, Offset]:
    """Where the newest ``held`` events of the window begin; ``readable`` are all times in order."""
    moment = readable[max(1, len(readable) - held) - 1]
    cut = {}
    for name, part in surveyed.items():
        count = int(np.count_nonzero(np.frombuffer(part.times, dtype=np.float64) <= moment)) if part.times else 0
        cut[name] = _offset_at(log, window, name, part, count)
    return cut


def _offset_at(log: EventLog, window: Window, name: str, part: _Partition, count: int) -> Offset:
    """The position behind the first ``count`` entries of the window."""
    if count == len(part.times):
        return window.end[name]
    offset = part.marks[count // _MARK_EVERY]
    for record in islice(log.records(name, offset, window.end[name]), count % _MARK_EVERY):
        offset = record.offset_after
    return offset
