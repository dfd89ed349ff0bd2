"""State of a model as plain arrays: what a delta is made from and applied to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from viridian_model.chain.change import FREED, Change, TableChange
from viridian_model.errors import BadDelta
from viridian_model.merkle import Positions, Rows


class Table:
    """An embedding table: ids int64 ``[rows]`` and values ``[rows, dim]``, with room to grow in place."""

    def __init__(self, ids: NDArray[np.int64], values: NDArray[Any]) -> None:
        """Take the arrays as they are; rows are written into them until the table has to grow.

        Raises:
            ValueError: the shapes do not belong together.
        """
        if values.ndim != 2 or ids.shape != values.shape[:1]:
            raise ValueError(f"ids {list(ids.shape)} and values {list(values.shape)} do not make a table")
        self._ids, self._values, self.rows = ids, values, len(ids)

    @property
    def ids(self) -> NDArray[np.int64]:
        """Ids of the rows in use; not to be kept over `write`."""
        return self._ids[: self.rows]

    @property
    def values(self) -> NDArray[Any]:
        """Values of the rows in use; not to be kept over `write`."""
        return self._values[: self.rows]

    def take(self, positions: Positions) -> Rows:
        """Copy those of ``positions`` that the table has."""
        here = positions[positions < self.rows]
        return Rows(here, self._values[here], self._ids[here])

    def write(self, change: TableChange) -> None:
        """Write and free rows; the change was checked before, see `TableChange.check`."""
        self._reserve(change.rows)
        self.rows = change.rows
        self._ids[change.positions], self._values[change.positions] = change.ids, change.values
        self._ids[change.removed], self._values[change.removed] = FREED, 0

    def copy(self) -> Table:
        """Return a table of its own, without spare room."""
        return Table(self.ids.copy(), self.values.copy())

    def _reserve(self, rows: int) -> None:
        if rows <= len(self._ids):
            return
        missing = max(rows, 2 * len(self._ids)) - len(self._ids)
        width = self._values.shape[1]
        self._ids = np.concatenate([self._ids, np.zeros(missing, np.int64)])
        self._values = np.concatenate([self._values, np.zeros((missing, width), self._values.dtype)])


@dataclass
class ModelState:
    """Tables by the names of ``embedding_tables()``, every other tensor by its name in the model."""

    tables: dict[str, Table] = field(default_factory=dict)
    tensors: dict[str, NDArray[Any]] = field(default_factory=dict)

    def apply(self, change: Change) -> None:
        """Bring this state to the one after ``change``, in place.

        Raises:
            BadDelta: it names what this model does not have, or with another shape or type; nothing was written.
        """
        self.check(change)
        self.write(change)

    def write(self, change: Change) -> None:
        """Apply a change that was checked; arrays of tensors are replaced, not written into."""
        for name, table_change in change.tables.items():
            self.tables[name].write(table_change)
        self.tensors |= change.tensors

    def check(self, change: Change) -> None:
        """Raise `BadDelta` if ``change`` cannot be applied to this state."""
        for name, table_change in change.tables.items():
            if name not in self.tables:
                raise BadDelta(f"the model has no table {name!r}")
            table = self.tables[name]
            try:
                table_change.check(table.rows, table.values.shape[1], table.values.dtype)
            except BadDelta as error:
                raise BadDelta(f"table {name!r}: {error}") from None
        for name, value in change.tensors.items():
            if name not in self.tensors:
                raise BadDelta(f"the model has no tensor {name!r}")
            have = self.tensors[name]
            if (have.shape, have.dtype) != (value.shape, value.dtype):
                raise BadDelta(
                    f"tensor {name!r} is {value.dtype} {value.shape}, the model has {have.dtype} {have.shape}"
                )

    def copy(self) -> ModelState:
        """Return a state that shares nothing with this one."""
        tables = {name: table.copy() for name, table in self.tables.items()}
        return ModelState(tables, {name: value.copy() for name, value in self.tensors.items()})
