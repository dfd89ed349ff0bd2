"""The split of a window loses nothing, repeats nothing and cuts at the time quantile."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_event_log import SCHEMA, InMemory
from worlds import parquet, rows

from viridian_trainer.errors import BadData, BadUsage
from viridian_trainer.eventlog import Window, read
from viridian_trainer.window import split_by_time, tail_size


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 1000), max_size=30), min_size=1, max_size=4).filter(any),
    st.floats(0.05, 0.5),
)
def test_train_and_holdout_make_up_the_window(times: list[list[int]], fraction: float) -> None:
    log = InMemory(times)
    window = Window(log.earliest(), log.heads())
    split = split_by_time(log, window, SCHEMA, fraction, 0)
    assert (split.train.start, split.train.end, split.holdout.end) == (window.start, split.holdout.start, window.end)
    assert split.train.total + split.holdout.total == window.total
    assert split.train.total >= window.total - round(fraction * window.total) >= 1


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 1000), max_size=300), min_size=1, max_size=3).filter(any),
    st.floats(0.05, 0.5),
)
def test_a_prequential_split_trains_on_all_but_the_tail_of_what_is_held_out(
    times: list[list[int]], fraction: float
) -> None:
    log = InMemory(times)
    window = Window(log.earliest(), log.heads())
    held = split_by_time(log, window, SCHEMA, fraction, 0)
    split = split_by_time(log, window, SCHEMA, fraction, 0, prequential=True)
    assert split.predicted is not None
    assert split.predicted.start == held.train.end
    assert (split.train.start, split.train.end, split.holdout.end) == (window.start, split.holdout.start, window.end)
    assert split.predicted.end == split.train.end
    assert split.holdout.total <= tail_size(round(fraction * window.total))  # equal times are not parted


@pytest.mark.parametrize(
    ("slice_", "tail"), [(0, 0), (1, 0), (2, 1), (4, 2), (150, 75), (300, 100), (500, 100), (1000, 200)]
)
def test_the_tail_is_a_fifth_and_no_more_than_half(slice_: int, tail: int) -> None:
    assert tail_size(slice_) == tail


def test_the_holdout_is_the_newest_tenth(tmp_path: Path) -> None:
    log = parquet(tmp_path / "log", rows(0, 5000), partitions=3)
    split = split_by_time(log, Window(log.earliest(), log.heads()), SCHEMA, 0.1, 0)
    assert split.holdout.total == 500
    trained = [entry.event.time for entry in read(log, split.train, SCHEMA) if entry.event]
    held_out = [entry.event.time for entry in read(log, split.holdout, SCHEMA) if entry.event]
    assert max(trained) < min(held_out)


def test_one_wrong_clock_moves_the_cut_by_one() -> None:
    log = InMemory([[1, 2, 999, *range(3, 100)], list(range(100))])
    split = split_by_time(log, Window(log.earliest(), log.heads()), SCHEMA, 0.1, 0)
    assert split.train.end == {"0": "90", "1": "91"}


def test_too_many_unreadable_entries_fail_the_window() -> None:
    log = InMemory([[1, -1, 3, 4, 5, 6, 7, 8, 9, 10]])
    window = Window(log.earliest(), log.heads())
    assert split_by_time(log, window, SCHEMA, 0.1, 0.1).rejected == 1
    with pytest.raises(BadData, match=r"1 of 10 entries are unreadable.* kept in memory") as failure:
        split_by_time(log, window, SCHEMA, 0.1, 0.05)
    assert failure.value.events == {"rejected": 1}
    with pytest.raises(BadData, match="no readable event"):
        split_by_time(InMemory([[-1]]), Window({"0": "0"}, {"0": "1"}), SCHEMA, 0.1, 1)


@pytest.mark.parametrize(
    "value",
    [
        None,
        {},
        {"from": {"0": "1"}},
        {"from": {"0": 1}, "to": {"0": "2"}},
        {"from": {"0": "3"}, "to": {"0": "2"}},
        {"from": {}, "to": {"0": "2"}},
        {"from": {"0": "x"}, "to": {"0": "2"}},
    ],
)
def test_malformed_windows_are_refused(value: object) -> None:
    with pytest.raises(BadUsage):
        Window.parse(value)
