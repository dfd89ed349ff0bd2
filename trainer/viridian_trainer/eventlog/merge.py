"""One deterministic order over all partitions, the same whenever and wherever a window is read."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass

from viridian_model.schema import Schema
from viridian_trainer.eventlog.log import EventLog, Record
from viridian_trainer.eventlog.offset import Offset, Window
from viridian_trainer.eventlog.schema import Event, Unreadable, parse


@dataclass(frozen=True, slots=True)
class Entry:
    """A record in the order of training: with its event, or with the reason why it is none."""

    record: Record
    event: Event | None
    rejection: str = ""

    @property
    def partition(self) -> str:
        """Where it comes from."""
        return self.record.partition

    @property
    def offset_after(self) -> Offset:
        """The position right behind it."""
        return self.record.offset_after


def read(log: EventLog, window: Window, schema: Schema) -> Iterator[Entry]:
    """Every entry of ``window``, merged by (time, partition, number).

    Within a partition the order of appending is kept even where times go back. The merge looks only at the
    first unread entry of each partition, so reading on from saved positions gives exactly the rest of the
    sequence. Unreadable entries have no time and come as soon as they are first in their partition.

    Raises
    ------
    DataTrimmed
        If a partition does not hold what the window promises.
    """
    rank = {partition: number for number, partition in enumerate(window.partitions)}
    sources = {
        partition: _entries(log, partition, window.start[partition], window.end[partition], schema)
        for partition in window.partitions
    }
    heap: list[tuple[float, int, int, Entry]] = []

    def push(partition: str) -> None:
        entry = next(sources[partition], None)
        if entry is not None:
            moment = entry.event.time if entry.event else float("-inf")
            heapq.heappush(heap, (moment, rank[partition], entry.record.number, entry))

    for partition in window.partitions:
        push(partition)
    while heap:
        entry = heapq.heappop(heap)[-1]
        yield entry
        push(entry.partition)


def _entries(log: EventLog, partition: str, start: Offset, end: Offset, schema: Schema) -> Iterator[Entry]:
    for record in log.records(partition, start, end):
        try:
            yield Entry(record, parse(record, schema))
        except Unreadable as problem:
            yield Entry(record, None, str(problem))
