"""Copy-on-write tables against the plain state that a delta is applied to in place."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest
import torch
from changing_world import MOMENTS, Moment, World, build, chain_of, content
from hypothesis import given, settings
from hypothesis import strategies as st

from viridian_model.chain.builder import Selection
from viridian_model.chain.change import FREED, TableChange
from viridian_model.chain.roots import Roots
from viridian_model.chain.state import ModelState
from viridian_model.errors import BadDelta
from viridian_server.online.index import HashIndex
from viridian_server.online.table import TableView
from viridian_server.online.weights import RootMismatch, Weights


def weights_of(state: ModelState) -> Weights:
    tables = {name: TableView.of(t.ids.copy(), t.values, torch.float32) for name, t in state.tables.items()}
    return Weights(tables, dict(state.tensors), Roots.of(state))


def seen(weights: Weights) -> dict[str, bytes]:
    """Every bit that a request can see."""
    tables = {}
    for name, view in weights.tables.items():
        rows = view.take(np.arange(view.rows))
        tables[name] = rows.ids.tobytes() + rows.values.tobytes()
    return tables | {name: value.tobytes() for name, value in weights.tensors.items()}


@given(moments=MOMENTS, together=st.integers(1, 4), encoding=st.sampled_from(["fp32", "int8"]))
@settings(max_examples=25, deadline=None)
def test_every_snapshot_is_the_state_of_its_sequence_and_stays_it(
    moments: list[Moment], together: int, encoding: Any
) -> None:
    deltas, _, reader = chain_of(World(), moments, Selection(encoding=encoding))
    weights = weights_of(reader.state)
    history = [(weights, content(reader.state))]
    for start in range(0, len(deltas), together):
        group = deltas[start : start + together]
        for delta in group:
            reader.apply(delta)
        weights = weights.after([delta.change for delta in group], group[-1].manifest.root)
        history.append((weights, content(reader.state)))
        for name, table in reader.state.tables.items():
            live = np.flatnonzero(table.ids != FREED)
            view = weights.tables[name]
            assert (view.arena.array[view.slots_of(table.ids[live])] == table.values[live]).all()
    for snapshot, wanted in history:
        assert seen(snapshot) == wanted


def test_rows_are_reused_only_when_nobody_holds_their_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("viridian_server.online.arena._capacity", lambda rows: 3 * rows)
    world = World(rows=400)
    deltas, _, reader = chain_of(world, [Moment(train=tuple(range(0, 400, 2))) for _ in range(80)])
    anchor = weights = weights_of(reader.state)
    wanted, arena = seen(anchor), anchor.tables["item"].arena
    for delta in deltas:
        weights = weights.after([delta.change], delta.manifest.root)
        arena.reclaim()
    assert seen(anchor) == wanted
    assert arena.capacity == 3 * 400  # of the 16,000 rows that were written


def test_an_arena_that_grows_changes_nothing_for_those_who_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("viridian_server.online.arena._capacity", lambda rows: rows + 3)
    deltas, _, reader = chain_of(World(), [Moment(train=(1, 2, 3), new=2) for _ in range(20)])
    history, weights = [], weights_of(reader.state)
    for delta in deltas:
        weights = weights.after([delta.change], delta.manifest.root)
        history.append((weights, seen(weights)))
    assert all(seen(snapshot) == wanted for snapshot, wanted in history)
    del history
    gc.collect()


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 9), st.booleans()), max_size=60))
@settings(max_examples=50, deadline=None)
def test_the_index_finds_what_the_ids_say_wherever_they_moved(moves: list[tuple[int, int, bool]]) -> None:
    ids = np.array([0, *[FREED] * 5])
    index = HashIndex.of(ids, FREED)
    for position, hashed, free in moves:
        ids = ids.copy()
        if free and position:
            ids[position] = FREED
        elif position and hashed not in ids:
            ids[position] = hashed
            index = index.with_new(np.array([hashed]), np.array([position]), ids, FREED)
        wanted = [int(np.flatnonzero(ids == each)[0]) if each in ids else 0 for each in range(1, 10)]
        assert index.find(np.arange(1, 10), ids).tolist() == wanted
        assert index.valid(ids) == (ids != FREED).sum()


def test_what_does_not_fit_is_refused_and_leaves_no_trace() -> None:
    world = World()
    deltas, builder, reader = chain_of(world, [Moment(train=(1,))])
    weights = weights_of(reader.state)
    wanted = seen(weights)
    change = deltas[0].change
    with pytest.raises(RootMismatch):
        weights.after([change], "0" * 32)
    wide = TableChange(6, np.array([1]), np.array([2]), np.zeros((1, 9), np.float32), np.zeros(0, np.int64))
    for name, table in (("item", wide), ("shop", wide)):
        with pytest.raises(BadDelta, match=r"values|no table 'shop'"):
            weights.after([type(change)({name: table})], "")
    with pytest.raises(BadDelta, match="the model has float32"):
        weights.after([type(change)({}, {"bias": np.zeros(3)})], "")
    assert seen(weights) == wanted
    assert build(builder, world, Moment(train=(1,))) is not None
