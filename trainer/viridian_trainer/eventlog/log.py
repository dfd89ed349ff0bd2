"""What every event log can do, whatever stores it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from viridian_trainer.errors import BadConfig, DataTrimmed
from viridian_trainer.eventlog.offset import Offset, Window, count_before


@dataclass(frozen=True, slots=True)
class Record:
    """One entry as it is stored.

    ``offset_after`` is the position right behind it, ``number`` the count of entries ever appended before
    it, and ``payload`` the undecoded JSON text or the decoded row.
    """

    partition: str
    number: int
    offset_after: Offset
    payload: bytes | Mapping[str, Any]


class EventLog(Protocol):
    """Append-only partitions that can be read between two positions."""

    def heads(self) -> dict[str, Offset]:
        """The position behind the newest entry of each partition.

        Raises
        ------
        LogUnreachable
            If the store does not answer.
        """
        ...

    def earliest(self) -> dict[str, Offset]:
        """The position before the oldest entry that is still stored in each partition."""
        ...

    def records(self, partition: str, start: Offset, end: Offset) -> Iterator[Record]:
        """Every entry of ``partition`` between two positions, in the order of appending.

        Raises
        ------
        DataTrimmed
            If the number of entries found differs from the one that the offsets promise.
        LogUnreachable
            If the store does not answer.
        """
        ...

    @property
    def dead_letters(self) -> str:
        """Where people find unreadable entries."""
        ...

    def wait(self, after: Mapping[str, Offset], timeout: float) -> bool:
        """Return true as soon as a partition holds an entry behind ``after``, false after ``timeout`` seconds.

        Raises
        ------
        LogUnreachable
            If the store does not answer.
        """
        ...

    def reject(self, record: Record, reason: str) -> None:
        """Keep an unreadable entry, with its reason, where people find it."""
        ...


@runtime_checkable
class RandomAccess(Protocol):
    """What some event logs can do besides: read single entries without those in between."""

    def at(self, partition: str, start: Offset, end: Offset, places: Sequence[int]) -> Iterator[Record]:
        """The entries at these ascending places of ``[start, end)``, counted from 0.

        Raises
        ------
        DataTrimmed
            If one of them is not stored, after those before it were given.
        """
        ...


def passing(log: EventLog, partition: str, start: Offset, end: Offset, places: Sequence[int]) -> Iterator[Record]:
    """What ``RandomAccess`` gives, by reading everything between two positions."""
    wanted = frozenset(places)
    return (record for place, record in enumerate(log.records(partition, start, end)) if place in wanted)


def check_present(log: EventLog, window: Window) -> None:
    """Fail before any work if entries of ``window`` are gone or not there yet.

    Raises
    ------
    DataTrimmed
        If the log was trimmed past the start of the window, emptied, or ends before its end.
    """
    earliest, heads = log.earliest(), log.heads()
    for partition in window.partitions:
        if partition not in heads:
            raise BadConfig(f"the window names partition {partition}, which the event log does not have")
        if window.count(partition) == 0:
            continue
        first, wanted = count_before(earliest[partition]), count_before(window.start[partition])
        if first > wanted:
            raise DataTrimmed(
                f"partition {partition} was trimmed: its first {first} entries are gone, the window begins "
                f"at {wanted}; keep events longer, or request skip-window"
            )
        head, end = count_before(heads[partition]), count_before(window.end[partition])
        if head < end:
            raise DataTrimmed(
                f"partition {partition} holds {head} entries, the window ends at {end}: the log was emptied or replaced"
            )
