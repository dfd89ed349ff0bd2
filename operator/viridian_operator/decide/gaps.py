"""Gaps of a lineage: events that a person gave up, recorded with their reason, so that none is lost silently."""

from __future__ import annotations

from collections.abc import Sequence

from viridian_operator.api.status import Champion, Gap, Offsets
from viridian_operator.decide.window import entries_before


def begin_after(champion: Champion, gaps: Sequence[Gap]) -> Offsets:
    """Where the next window begins: at the champion's watermark, or behind what was skipped from there on."""
    return _walk(champion, gaps)[0]


def gaps_after(champion: Champion, gaps: Sequence[Gap]) -> list[Gap]:
    """The gaps between the champion's watermark and where the next window begins."""
    return _walk(champion, gaps)[1]


def _walk(champion: Champion, gaps: Sequence[Gap]) -> tuple[Offsets, list[Gap]]:
    """Where one comes to from the watermark, over every gap that begins where one has come to, and those gaps."""
    begin, found = dict(champion.watermark), []
    for gap in gaps:
        if passed := {p: gap.end[p] for p in gap.start if _same(gap.start[p], begin.get(p))}:
            begin |= passed
            found.append(gap)
    return begin, found


def _same(offset: str, other: str | None) -> bool:
    return other is not None and entries_before(offset) == entries_before(other)
