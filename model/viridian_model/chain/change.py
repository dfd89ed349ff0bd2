"""The content of a delta as arrays, and as safetensors."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from viridian_model.chain.quantisation import is_quantisable, quantise, restore
from viridian_model.errors import BadDelta
from viridian_model.merkle import Positions, Rows

Encoding = Literal["fp32", "int8"]

FREED = -(1 << 63)
"""Stands where an id has lost its row, until the row is given to another; no value ever hashes to it."""


@dataclass(frozen=True)
class TableChange:
    """Rows ``positions`` (int64 ``[k]``, ascending) get ``ids`` (int64 ``[k]``) and ``values`` (``[k, dim]``), rows
    ``removed`` (int64, ascending) are freed; the table has ``rows`` rows then."""

    rows: int
    positions: Positions
    ids: NDArray[np.int64]
    values: NDArray[Any]
    removed: Positions

    @cached_property
    def touched(self) -> Positions:
        """All positions that are another row afterwards, ascending."""
        if len(self.removed) == 0:
            return self.positions
        return np.sort(np.concatenate([self.positions, self.removed]), kind="stable")

    @property
    def written(self) -> Rows:
        """Those rows as they are afterwards, in no order."""
        zeros = np.zeros((len(self.removed), *self.values.shape[1:]), self.values.dtype)
        freed = np.full(len(self.removed), FREED, dtype=np.int64)
        return Rows(
            np.concatenate([self.positions, self.removed]),
            np.concatenate([self.values, zeros]),
            np.concatenate([self.ids, freed]),
        )

    def check(self, rows: int, dim: int, dtype: np.dtype[Any]) -> None:
        """Raise `BadDelta` unless it fits a table of ``rows`` rows of ``dim`` elements of type ``dtype``."""
        if self.values.shape != (len(self.positions), dim) or self.values.dtype != dtype:
            wanted, given = (len(self.positions), dim), self.values.shape
            raise BadDelta(f"values are {self.values.dtype} {given}, wanted are {dtype} {wanted}")
        if self.ids.shape != self.positions.shape:
            raise BadDelta(f"{len(self.positions)} rows have {len(self.ids)} ids")
        if self.rows < rows:
            raise BadDelta(f"a table never shrinks, not from {rows} to {self.rows} rows")
        self._check_positions(rows)

    def _check_positions(self, rows: int) -> None:
        for positions in (self.positions, self.removed):
            if positions.dtype != np.int64 or positions.ndim != 1 or (np.diff(positions) <= 0).any():
                raise BadDelta("positions must be int64 and ascend")
        touched = self.touched
        if (np.diff(touched) == 0).any():
            raise BadDelta("a row is both changed and removed")
        if len(touched) and not (touched[0] >= 0 and touched[-1] < self.rows):
            raise BadDelta(f"a row outside of the {self.rows} rows is changed")
        if (touched >= rows).sum() != self.rows - rows:
            raise BadDelta(f"not every row from {rows} to {self.rows} is given")


@dataclass(frozen=True)
class Change:
    """New values of everything that changed."""

    tables: dict[str, TableChange] = field(default_factory=dict)
    tensors: dict[str, NDArray[Any]] = field(default_factory=dict)

    @property
    def empty(self) -> bool:
        """Nothing changed."""
        return not self.tables and not self.tensors


def encode(change: Change, encoding: Encoding) -> tuple[bytes, Change]:
    """Return the payload, and the change as readers get it (other values than given only for ``int8``).

    Raises:
        BadDelta: a value is not finite, and would have to be rounded.
    """
    arrays: dict[str, NDArray[Any]] = {}
    served, tensors = {}, {}
    for name, table in change.tables.items():
        prefix = f"rows/{name}/"
        arrays |= {prefix + "positions": table.positions, prefix + "ids": table.ids, prefix + "removed": table.removed}
        values = _put(arrays, prefix + "values", prefix + "scale", table.values, encoding)
        served[name] = TableChange(table.rows, table.positions, table.ids, values, table.removed)
    for name, value in change.tensors.items():
        tensors[name] = _put(arrays, f"tensors/{name}", f"scales/{name}", value, encoding)
    return save({name: arrays[name] for name in sorted(arrays)}), Change(served, tensors)


def _put(
    arrays: dict[str, NDArray[Any]], name: str, scale: str, values: NDArray[Any], encoding: Encoding
) -> NDArray[Any]:
    """Put values into the payload; returns them as readers get them."""
    if encoding == "int8" and is_quantisable(values):
        arrays[scale], arrays[name] = quantise(values)
        return restore(arrays[scale], arrays[name])
    arrays[name] = np.asarray(values, order="C")
    return values


def decode(payload: bytes, rows: dict[str, int]) -> Change:
    """Read a payload; ``rows`` are those of each table afterwards.

    Raises:
        BadDelta: it is no safetensors, or other tables or arrays are in it.
    """
    try:
        arrays = load(payload)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise BadDelta(f"the payload cannot be read: {error}") from None
    tables = {name: _table(arrays, name, count) for name, count in rows.items()}
    tensors = {name: _take(arrays, f"tensors/{name}", f"scales/{name}") for name in _tensor_names(arrays)}
    if arrays:
        raise BadDelta(f"the payload holds {', '.join(sorted(arrays))}, of which the manifest does not tell")
    return Change(tables, tensors)


def _table(arrays: dict[str, NDArray[Any]], name: str, rows: int) -> TableChange:
    prefix = f"rows/{name}/"
    try:
        positions, ids, removed = (arrays.pop(prefix + part) for part in ("positions", "ids", "removed"))
        values = _take(arrays, prefix + "values", prefix + "scale")
    except KeyError as error:
        raise BadDelta(f"the payload lacks {error.args[0]}") from None
    return TableChange(rows, positions, ids, values, removed)


def _take(arrays: dict[str, NDArray[Any]], name: str, scale: str) -> NDArray[Any]:
    values = arrays.pop(name)
    return restore(arrays.pop(scale), values) if scale in arrays else values


def _tensor_names(arrays: dict[str, NDArray[Any]]) -> list[str]:
    return [key.removeprefix("tensors/") for key in arrays if key.startswith("tensors/")]
