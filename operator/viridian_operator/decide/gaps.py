"""Gaps of a lineage: events that a person gave up, recorded with their reason, so that none is lost silently."""

from __future__ import annotations

from collections.abc import Sequence

from viridian_operator.api.status import Champion, Gap, Offsets
from viridian_operator.decide.window import entries_before


def begin_after(champion: Champion, gaps: Sequence[Gap]) -> Offsets:
    """Where the next window begins: at the champion's watermark, or behind what was skipped from there on."""
    begin = dict(champion.watermark)
    for gap in gaps:
        begin |= {p: gap.end[p] for p in gap.start if _same(gap.start[p], begin.get(p))}
    return begin


def gaps_after(champion: Champion, gaps: Sequence[Gap]) -> list[Gap]:
    """The gaps between the champion's watermark and where the next window begins."""
    begin, found = dict(champion.watermark), []
    for gap in gaps:
        if passed := {p: gap.end[p] for p in gap.start if _same(gap.start[p], begin.get(p))}:
            begin |= passed
            found.append(gap)
    return found


def _same(offset: str, other: str | None) -> bool:
    return other is not None and entries_before(offset) == entries_before(other)
