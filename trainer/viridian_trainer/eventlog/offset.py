"""Offsets and windows: positions between entries of append-only partitions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from viridian_model.canonical import canonical_json
from viridian_trainer.errors import BadUsage

#: Position in one partition, ``<n>`` (Parquet) or ``<n>@<id>`` (Redis); ``n`` entries stand before it.
Offset = str


def count_before(offset: Offset) -> int:
    """The number of entries ever appended before ``offset``.

    Raises
    ------
    BadUsage
        If ``offset`` does not begin with a number.
    """
    digits = offset.partition("@")[0]
    if not (digits.isascii() and digits.isdigit()):
        raise BadUsage(f"offset {offset!r} does not begin with a number of entries; write for example 12@1700-0 or 12")
    return int(digits)


@dataclass(frozen=True)
class Window:
    """The entries of every partition between two positions."""

    start: Mapping[str, Offset]
    end: Mapping[str, Offset]

    def __post_init__(self) -> None:
        if set(self.start) != set(self.end):
            raise BadUsage("a window must name the same partitions in from and to")
        for partition in self.end:
            if self.count(partition) < 0:
                raise BadUsage(f"the window of partition {partition} ends before it begins")

    @classmethod
    def parse(cls, value: Any) -> Self:
        """The window of ``{"from": {...}, "to": {...}}``.

        Raises
        ------
        BadUsage
            If ``value`` has another form.
        """
        if not isinstance(value, dict) or set(value) != {"from", "to"}:
            raise BadUsage('a window must be an object with exactly "from" and "to"')
        for side in value.values():
            if not isinstance(side, dict) or not all(isinstance(offset, str) for offset in side.values()):
                raise BadUsage("the sides of a window must map partitions to offsets, both strings")
        return cls(value["from"], value["to"])

    @property
    def partitions(self) -> tuple[str, ...]:
        """Partitions in their fixed order: by number where they are numbers, else by name."""
        return tuple(sorted(self.end, key=partition_order))

    def count(self, partition: str) -> int:
        """The exact number of entries of ``partition`` in the window."""
        return count_before(self.end[partition]) - count_before(self.start[partition])

    @property
    def total(self) -> int:
        """The exact number of entries in the window."""
        return sum(self.count(partition) for partition in self.end)

    def wire(self) -> dict[str, dict[str, Offset]]:
        """JSON form."""
        return {"from": dict(self.start), "to": dict(self.end)}

    def canonical(self) -> str:
        """Canonical JSON, as in the version tag ``viridian.window``."""
        return canonical_json(self.wire()).decode()


def partition_order(partition: str) -> tuple[int, str]:
    """Sort key of partitions: ``"2"`` before ``"10"``, numbers before names."""
    return (int(partition), "") if partition.isascii() and partition.isdigit() else (1 << 62, partition)
