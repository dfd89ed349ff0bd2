"""One table of one snapshot: which row of the arena stands at which position."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from viridian_model.chain.change import FREED, TableChange
from viridian_model.embedding import ExpandableEmbedding
from viridian_model.merkle import Positions, Rows
from viridian_server.online.arena import RowArena, Slots
from viridian_server.online.index import HashIndex


@dataclass(frozen=True, eq=False)
class TableView:
    """``ids`` (int64 ``[rows]``) and ``slots`` (int32 ``[rows]``) by position; itself never changes."""

    arena: RowArena
    ids: NDArray[np.int64]
    slots: Slots
    index: HashIndex

    def __post_init__(self) -> None:
        self.arena.add_view(self)

    @classmethod
    def of(cls, ids: NDArray[np.int64], values: NDArray[Any], dtype: torch.dtype) -> TableView:
        """Put a whole table into an arena of its own."""
        slots = np.arange(len(ids), dtype=np.int32)
        return cls(RowArena(values, dtype), ids, slots, HashIndex.of(ids, FREED))

    @property
    def rows(self) -> int:
        """Rows, freed ones included."""
        return len(self.ids)

    @property
    def dim(self) -> int:
        """Width of a row."""
        return int(self.arena.array.shape[1])

    def take(self, positions: Positions) -> Rows:
        """Copy those of ``positions`` that the table has, from the memory that answers."""
        here = positions[positions < self.rows]
        # A damaged slot must be found by its content, not end the search.
        values = self.arena.array.take(self.slots[here], axis=0, mode="clip")
        return Rows(here, values, self.ids[here])

    def slots_of(self, hashes: NDArray[np.int64]) -> Slots:
        """Return the slot of each hash, that of row 0 for an unknown one."""
        slots: Slots = self.slots[self.index.find(hashes, self.ids)]
        return slots

    def after(self, changes: Sequence[TableChange]) -> TableView:
        """Return the table after ``changes``; rows, ids and index of this one stay as they are.

        Costs the rows of the changes, and 4 bytes per row of the table (12 where an id came or went).

        Raises:
            BadDelta: a change does not fit; nothing that anybody sees was written.
        """
        rows = self.rows
        for change in changes:
            change.check(rows, self.dim, self.arena.array.dtype)
            rows = change.rows
        touched = touched_by(changes)
        slots = np.empty(rows, np.int32)
        slots[: self.rows] = self.slots
        slots[touched] = self.arena.allocate(len(touched))
        for change in changes:
            self.arena.write(slots[change.positions], change.values)
            self.arena.write(slots[change.removed], 0)
        return self._with_ids(changes, touched, slots)

    def with_slots(self, slots: Slots) -> TableView:
        """Return the same ids with other rows."""
        return replace(self, slots=slots)

    def _with_ids(self, changes: Sequence[TableChange], touched: Positions, slots: Slots) -> TableView:
        if len(slots) == self.rows and not any(self._moves_ids(change) for change in changes):
            return self.with_slots(slots)
        ids = np.concatenate([self.ids, np.full(len(slots) - self.rows, FREED)])
        before = ids[touched]
        for change in changes:
            ids[change.positions], ids[change.removed] = change.ids, FREED
        came = touched[(ids[touched] != before) & (ids[touched] != FREED)]
        return TableView(self.arena, ids, slots, self.index.with_new(ids[came], came, ids, FREED))

    def _moves_ids(self, change: TableChange) -> bool:
        return len(change.removed) > 0 or not np.array_equal(self.ids[change.positions], change.ids)


def touched_by(changes: Sequence[TableChange]) -> Positions:
    """All positions that any of ``changes`` writes, ascending."""
    return reduce(np.union1d, (change.touched for change in changes))


class ServedTable(ExpandableEmbedding):
    """Takes the place of an `ExpandableEmbedding` in a model that answers; reads a `TableView`."""

    def __init__(self, name: str, view: TableView) -> None:
        nn.Module.__init__(self)
        self.name, self.dim, self.sparse, self.view = name, view.dim, False, view

    @property
    def rows(self) -> int:
        """Rows in use."""
        return self.view.rows

    @property
    def capacity(self) -> int:
        """Rows of `weight`."""
        return self.view.rows

    @property
    def ids(self) -> Tensor:
        """Hashes of the ids, int64 ``[rows]``."""
        return torch.from_numpy(self.view.ids.copy())

    @property
    def weight(self) -> nn.Parameter:  # type: ignore[override]
        """A copy of the whole table, for a model that does more with it than look rows up."""
        slots = torch.from_numpy(self.view.slots)
        return nn.Parameter(self.view.arena.tensor.index_select(0, slots), requires_grad=False)

    def rows_of(self, hashes: Tensor) -> Tensor:
        """Return the positions of ``hashes`` (int64 ``[n]``), 0 where unknown."""
        return torch.from_numpy(self.view.index.find(hashes.cpu().numpy(), self.view.ids))

    def forward(self, hashes: Tensor) -> Tensor:
        """Return the vectors ``[n, dim]`` of ``hashes`` (int64 ``[n]``)."""
        slots = torch.from_numpy(self.view.slots_of(hashes.numpy()))
        return functional.embedding(slots, self.view.arena.tensor)

    def grow(self, ids: Any) -> NoReturn:  # noqa: ARG002
        """A table that answers changes by deltas only."""
        raise TypeError(f"table {self.name} is served: it grows by deltas only")
