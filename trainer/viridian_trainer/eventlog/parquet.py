"""Event log in Parquet segments: ``<dir>/<partition>/<number of the first row, 20 digits>.parquet``.

Segments are written once and never changed; an offset is the number of rows before a position.
"""

from __future__ import annotations

import json
import os
import time
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import groupby, takewhile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from viridian_trainer.errors import BadConfig, DataTrimmed, LogUnreachable
from viridian_trainer.eventlog.log import Record
from viridian_trainer.eventlog.offset import Offset, count_before, partition_order

BATCH_ROWS = 4096
POLL_SECONDS = 0.05
DEAD_LETTERS = "dead.jsonl"


class ParquetEventLog:
    """``EventLog`` over a directory of segments."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._dead: set[tuple[str, Offset]] | None = None

    def heads(self) -> dict[str, Offset]:
        """See ``EventLog``."""
        return {name: str(_end(segments)) for name, segments in self._partitions().items()}

    def earliest(self) -> dict[str, Offset]:
        """See ``EventLog``; removing the oldest segments trims the log."""
        return {name: str(_first(segments[0])) if segments else "0" for name, segments in self._partitions().items()}

    def records(self, partition: str, start: Offset, end: Offset) -> Iterator[Record]:
        """See ``EventLog``; reads batches of 4096 rows."""
        number, last = count_before(start), count_before(end)
        segments = self._segments(self._directory / partition)
        for segment in segments[_holding(segments, number) :]:
            first, rows = _first(segment), _rows(segment)
            if first + rows <= number:
                continue
            if number >= last or first > number:
                break
            for row in _read(segment, number - first, min(last, first + rows) - first):
                number += 1
                yield Record(partition, number - 1, str(number), row)
        if number != last:
            raise self._lacks(partition, number, last)

    def at(self, partition: str, start: Offset, end: Offset, places: Sequence[int]) -> Iterator[Record]:
        """See ``RandomAccess``; reads whole segments, but only those that hold an entry."""
        first = count_before(start)
        numbers = [first + place for place in places]
        segments = self._segments(self._directory / partition)
        for index, together in groupby(numbers, lambda number: _holding(segments, number)):
            wanted = list(together)
            rows = _taken(segments[index], wanted) if segments else []
            for number, row in zip(wanted, rows, strict=False):
                yield Record(partition, number, str(number + 1), row)
            if len(rows) < len(wanted):
                raise self._lacks(partition, wanted[len(rows)], count_before(end))

    def _lacks(self, partition: str, number: int, end: int) -> DataTrimmed:
        return DataTrimmed(
            f"partition {partition} of {self._directory} lacks rows {number} to {end}; restore the segments, "
            "or request skip-window"
        )

    @property
    def dead_letters(self) -> str:
        """See ``EventLog``."""
        return f"file {self._directory / DEAD_LETTERS}"

    def wait(self, after: Mapping[str, Offset], timeout: float) -> bool:
        """See ``EventLog``; looks every 50 ms."""
        deadline = time.monotonic() + timeout
        while not any(count_before(head) > count_before(after.get(name, "0")) for name, head in self.heads().items()):
            if (left := deadline - time.monotonic()) <= 0:
                return False
            time.sleep(min(POLL_SECONDS, left))
        return True

    def reject(self, record: Record, reason: str) -> None:
        """Append the row to ``<dir>/dead.jsonl``, once however often the window is read, if it can be written."""
        if not os.access(self._directory, os.W_OK):
            return
        path, place = self._directory / DEAD_LETTERS, (record.partition, record.offset_after)
        if self._dead is None:
            self._dead = _places(path)
        if place in self._dead:
            return
        line = {"partition": place[0], "offset": place[1], "reason": reason, "event": record.payload}
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, default=str) + "\n")
        self._dead.add(place)

    def _partitions(self) -> dict[str, list[Path]]:
        if not self._directory.is_dir():
            raise BadConfig(f"data.source.parquet.path {self._directory} is not a directory")
        names = sorted((p.name for p in self._directory.iterdir() if p.is_dir()), key=partition_order)
        return {name: self._segments(self._directory / name) for name in names}

    def _segments(self, directory: Path) -> list[Path]:
        try:
            return sorted(path for path in directory.iterdir() if path.suffix == ".parquet" and path.stem.isdigit())
        except OSError as error:
            raise LogUnreachable(f"cannot list {directory}: {error.strerror}") from error


def write_segment(directory: Path, partition: str, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Append ``rows`` as the next segment of ``partition``, visible only when complete.

    Returns the path of the segment.
    """
    folder = directory / partition
    folder.mkdir(parents=True, exist_ok=True)
    existing = sorted(path for path in folder.iterdir() if path.suffix == ".parquet" and path.stem.isdigit())
    target = folder / f"{_end(existing):020d}.parquet"
    unfinished = target.with_suffix(".tmp")
    pq.write_table(pa.Table.from_pylist([dict(row) for row in rows]), unfinished, compression="zstd")
    unfinished.rename(target)
    return target


def _places(path: Path) -> set[tuple[str, Offset]]:
    """Partition and offset of the dead letters in ``path``; a line cut short by a kill is ended and not counted."""
    if not path.exists():
        return set()
    text = path.read_text(encoding="utf-8")
    if text and not text.endswith("\n"):
        with path.open("a", encoding="utf-8") as file:
            file.write("\n")
    found = set()
    for line in text.splitlines():
        with suppress(ValueError, KeyError, TypeError):
            letter = json.loads(line)
            found.add((letter["partition"], letter["offset"]))
    return found


def _first(segment: Path) -> int:
    return int(segment.stem)


def _holding(segments: Sequence[Path], number: int) -> int:
    """Index of the segment that holds row ``number``, if any does: the last one that begins at it or before."""
    return max(0, bisect_right(segments, number, key=_first) - 1)


def _rows(segment: Path) -> int:
    return int(pq.read_metadata(segment).num_rows)


def _end(segments: Sequence[Path]) -> int:
    return _first(segments[-1]) + _rows(segments[-1]) if segments else 0


def _read(segment: Path, start: int, stop: int) -> Iterator[dict[str, Any]]:
    """Rows ``start`` to ``stop`` of one segment, skipping row groups outside."""
    with pq.ParquetFile(segment) as file:
        position = 0
        for group in range(file.num_row_groups):
            size = file.metadata.row_group(group).num_rows
            if position + size > start and position < stop:
                table = file.read_row_group(group).slice(
                    max(start - position, 0), min(stop - position, size) - max(start - position, 0)
                )
                for batch in table.to_batches(max_chunksize=BATCH_ROWS):
                    yield from batch.to_pylist()
            position += size


def _taken(segment: Path, numbers: Sequence[int]) -> list[dict[str, Any]]:
    """The rows of ``segment`` with these numbers, up to the first that it does not hold."""
    table, first = pq.read_table(segment), _first(segment)
    inside = list(takewhile(lambda position: 0 <= position < table.num_rows, (number - first for number in numbers)))
    rows: list[dict[str, Any]] = table.take(pa.array(inside, pa.int64())).to_pylist()
    return rows
