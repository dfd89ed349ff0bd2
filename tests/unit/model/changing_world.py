"""A trainer's state that changes in every way that a table can, and what a reader makes of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from viridian_model.chain.builder import Built, DeltaBuilder, Selection
from viridian_model.chain.change import FREED
from viridian_model.chain.delta import Delta, Trained
from viridian_model.chain.roots import Roots, advance
from viridian_model.chain.state import ModelState, Table

ANCHOR = "sha256:" + "0" * 64
DIM = 3


@dataclass(frozen=True)
class Moment:
    """What happens between two publications; numbers choose rows modulo those there are."""

    train: tuple[int, ...] = ()
    evict: tuple[int, ...] = ()
    new: int = 0
    dense: bool = False


MOMENTS = st.lists(
    st.builds(
        Moment,
        train=st.lists(st.integers(0, 40), max_size=6).map(tuple),
        evict=st.lists(st.integers(0, 40), max_size=3).map(tuple),
        new=st.integers(0, 4),
        dense=st.booleans(),
    ),
    min_size=1,
    max_size=8,
)


class World:
    """Two tables and two tensors; freed rows are given to new ids first, as the real tables do."""

    def __init__(self, rows: int = 6, seed: int = 0) -> None:
        self._random = np.random.default_rng(seed)
        self._next = 1
        self.state = ModelState(
            {name: Table(np.zeros(0, np.int64), np.zeros((0, DIM), np.float32)) for name in ("user", "item")},
            {"bias": np.zeros((), np.float32), "mlp.0.weight": np.zeros((4, 2), np.float32)},
        )
        for name in self.state.tables:
            self._grow(name, rows)

    def live(self, moment: Moment) -> dict[str, NDArray[np.int64]]:
        """Let it happen, and return the touched rows of each table."""
        touched = {name: self._change(name, moment) for name in self.state.tables}
        if moment.dense:
            self.state.tensors["mlp.0.weight"] = self._random.standard_normal((4, 2)).astype(np.float32)
        return touched

    def _change(self, name: str, moment: Moment) -> NDArray[np.int64]:
        table = self.state.tables[name]
        trained = np.array([row % table.rows for row in moment.train], dtype=np.int64)
        trained = trained[table.ids[trained] != FREED]
        table.values[trained] = self._values(len(trained))
        evicted = np.array([row % table.rows for row in moment.evict], dtype=np.int64)
        table.ids[evicted], table.values[evicted] = FREED, 0
        return np.concatenate([trained, evicted, self._grow(name, moment.new)])

    def _grow(self, name: str, count: int) -> NDArray[np.int64]:
        old = self.state.tables[name]
        free = np.flatnonzero(old.ids == FREED)[:count]
        rows = np.concatenate([free, np.arange(old.rows, old.rows + count - len(free))])
        more = count - len(free)
        ids = np.concatenate([old.ids, np.zeros(more, np.int64)])
        values = np.concatenate([old.values, np.zeros((more, DIM), np.float32)])
        ids[rows], values[rows] = np.arange(self._next, self._next + count), self._values(count)
        self._next += count
        self.state.tables[name] = Table(ids, values)
        return rows

    def _values(self, count: int) -> NDArray[np.float32]:
        return self._random.standard_normal((count, DIM)).astype(np.float32)


class Reader:
    """Applies deltas one after the other and checks the root of each."""

    def __init__(self, state: ModelState) -> None:
        self.state, self.roots = state.copy(), Roots.of(state)

    def apply(self, delta: Delta) -> None:
        """Apply one; it must lead from root to root."""
        assert delta.manifest.parent_root == self.roots.root
        self.roots = advance(self.state, self.roots, delta.change)
        assert self.roots.root == delta.manifest.root


def chain_of(
    world: World, moments: list[Moment], selection: Selection | None = None
) -> tuple[list[Delta], DeltaBuilder, Reader]:
    """Publish after every moment; return the deltas, the builder, and a reader that stands at the anchor."""
    builder, reader = DeltaBuilder("ctr", ANCHOR, world.state.copy(), selection), Reader(world.state)
    deltas = []
    for number, moment in enumerate(moments):
        built = build(builder, world, moment, number)
        if built is not None:
            builder.commit(built)
            deltas.append(built.delta)
    return deltas, builder, reader


def build(builder: DeltaBuilder, world: World, moment: Moment, number: int = 0) -> Built | None:
    """One delta of what happens."""
    return builder.build(world.state, world.live(moment), Trained(trained_to={"0": str(number)}, events=1))


def content(state: ModelState) -> dict[str, bytes]:
    """Every bit of a state."""
    tables = {name: table.ids.tobytes() + table.values.tobytes() for name, table in state.tables.items()}
    return tables | {name: value.tobytes() for name, value in state.tensors.items()}
