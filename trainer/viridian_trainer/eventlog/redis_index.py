"""Sparse index beside a stream: which entry stands before every 16th position.

Redis finds entries by ID, and IDs do not tell positions. The index is the sorted set ``<stream>:index:<partition>``:
its members are IDs, their scores the number of entries up to and including that one. It says nothing that a reading of
the stream would not, so that anybody may delete it, and two trainers that fill it at once write the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import redis

from viridian_trainer.eventlog.offset import Offset, count_before

#: Entries between two marks. An entry costs 8 bytes of index, and a single one takes a reading of 16.
SPACING = 16
WRITTEN_AT_ONCE = 1000


class Misfit(Exception):
    """The index does not fit the stream: one of them was replaced or lost entries."""


@dataclass(frozen=True)
class Stretch:
    """Entries between two known positions, of which those with ``numbers`` are wanted."""

    start: Offset
    end: Offset
    numbers: Sequence[int]

    @property
    def size(self) -> int:
        """Exact number of entries, if none was lost."""
        return count_before(self.end) - count_before(self.start)


class StreamIndex:
    """The index of one stream; failures of Redis come as they are."""

    def __init__(self, client: redis.Redis, key: str) -> None:
        self._redis = client
        self._key = key

    def resume(self, start: Offset, end: Offset) -> Offset:
        """The position in ``[start, end)`` up to which the index is complete; marks behind it are removed."""
        first, last = count_before(start), count_before(end)
        newest: Any = self._redis.zrange(
            self._key, cast("Any", f"({last}"), first + 1, desc=True, byscore=True, withscores=True, offset=0, num=1
        )
        if newest:
            entry_id, score = newest[0][0].decode(), int(newest[0][1])
            if self._redis.zcount(self._key, first + 1, score) == score // SPACING - first // SPACING:
                return f"{score}@{entry_id}"
        self._redis.zremrangebyscore(self._key, first, last)
        return start

    def add(self, positions: Iterator[Offset]) -> None:
        """Mark those of ``positions``, between which no other lies, that are due."""
        due: dict[str, int] = {}
        for position in positions:
            number, _, entry_id = position.partition("@")
            if int(number) % SPACING == 0:
                due[entry_id] = int(number)
        marks = list(due.items())
        for begin in range(0, len(marks), WRITTEN_AT_ONCE):
            self._redis.zadd(self._key, dict(marks[begin : begin + WRITTEN_AT_ONCE]))

    def trim(self, number: int) -> None:
        """Forget the marks up to position ``number``, whose entries are gone."""
        self._redis.zremrangebyscore(self._key, "-inf", number)

    def forget(self) -> None:
        """Remove the index; the next reader builds it anew."""
        self._redis.delete(self._key)

    def around(self, start: Offset, end: Offset, groups: Sequence[Sequence[int]]) -> list[Stretch]:
        """For each group of ascending numbers in ``[start, end)`` the shortest known stretch that holds it.

        Raises
        ------
        Misfit
            If a mark is missing; the index was removed.
        """
        first, last = count_before(start), count_before(end)
        borders = [(numbers[0] // SPACING * SPACING, (numbers[-1] // SPACING + 1) * SPACING) for numbers in groups]
        with self._redis.pipeline(transaction=False) as asked:
            for number in (number for pair in borders for number in pair):
                asked.zrange(self._key, number, number, byscore=True)
            answers = iter(asked.execute())
        stretches = []
        for numbers, (low, high) in zip(groups, borders, strict=True):
            below, above = next(answers), next(answers)
            stretches.append(
                Stretch(
                    start if low <= first else self._position(low, below),
                    end if high >= last else self._position(high, above),
                    numbers,
                )
            )
        return stretches

    def _position(self, number: int, members: Sequence[bytes]) -> Offset:
        if len(members) != 1:
            self.forget()
            raise Misfit(f"{len(members)} entries are said to stand before position {number}")
        return f"{number}@{members[0].decode()}"


def rounds(numbers: Sequence[int], most: int) -> Iterator[list[list[int]]]:
    """Ascending numbers in groups that share a block of the index or have neighbouring ones.

    The groups of one round lie in blocks of ``most`` entries together, so that they can be read at once.
    """
    groups: list[list[int]] = []
    entries, newest = 0, -2
    for number in numbers:
        block = number // SPACING
        if block != newest:
            if entries + SPACING > most:
                yield groups
                groups, entries, newest = [], 0, -2
            entries += SPACING
        if block - newest > 1:
            groups.append([])
        groups[-1].append(number)
        newest = block
    if groups:
        yield groups
