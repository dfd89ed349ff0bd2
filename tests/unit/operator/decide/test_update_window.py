"""Arithmetic of windows."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from viridian_operator.decide.observation import LogHeads
from viridian_operator.decide.window import shares


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 10**6)), min_size=1, max_size=9), st.integers(1, 10**6))
def test_the_newest_events_are_spread_over_the_partitions_as_they_are_held(
    partitions: list[tuple[int, int]], at_most: int
) -> None:
    """Each partition is (entries removed, entries held)."""
    numbered = {str(p): pair for p, pair in enumerate(partitions)}
    heads = LogHeads(
        offsets={p: f"{removed + held}@1-0" for p, (removed, held) in numbered.items()},
        total=0,
        removed={p: removed for p, (removed, _) in numbered.items()},
    )
    everything = sum(held for _, held in partitions)
    found = shares(heads, at_most)
    if everything <= at_most:
        assert found == {}
        return
    assert sum(found.values()) == at_most
    for p, (_, held) in numbered.items():
        assert 0 <= found[p] <= held
        assert abs(found[p] - held * at_most / everything) < 1
