"""Rows of one table, in one place for all snapshots."""

from __future__ import annotations

import weakref
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

Slots = NDArray[np.int32]

_SWEEPS_PER_CAPACITY = 8


class View(Protocol):
    """What refers to rows of an arena."""

    @property
    def slots(self) -> Slots:
        """Which rows."""
        ...


class RowArena:
    """Rows ``[capacity, dim]``. A row that any view refers to is never written again; one writer at a time.

    Readers take `tensor` once per look-up. It becomes another one when the arena grows, with the same rows at the same
    slots, copied in the thread that writes, so that no reader waits. Memory that was reserved and never written is
    address space only: the operating system gives pages at the first touch.
    """

    def __init__(self, values: NDArray[Any], dtype: torch.dtype) -> None:
        """Begin with ``values`` ``[rows, dim]`` at slots 0 to rows - 1; ``dtype`` is what torch calls their type."""
        self._dtype = dtype
        self._views: weakref.WeakSet[View] = weakref.WeakSet()
        self._free: Slots = np.zeros(0, np.int32)
        self._used = 0
        self._since_sweep = 0
        self.array, self.tensor = self._reserve(_capacity(len(values)), values)
        self._used = len(values)

    @property
    def capacity(self) -> int:
        """Rows that there is room for."""
        return len(self.array)

    @property
    def used(self) -> int:
        """Rows that were ever written: what takes memory."""
        return self._used

    def add_view(self, view: View) -> None:
        """Keep the rows of ``view`` for as long as anybody holds it."""
        self._views.add(view)

    def allocate(self, count: int) -> Slots:
        """Give ``count`` slots that no view refers to; they are the caller's until a view does, or the next sweep."""
        if len(self._free) < count and self._used + count > self.capacity:
            self._sweep()
        reused, self._free = self._free[:count], self._free[count:]
        missing = count - len(reused)
        if self._used + missing > self.capacity:
            self.array, self.tensor = self._reserve(_capacity(self._used + missing), self.array[: self._used])
        fresh = np.arange(self._used, self._used + missing, dtype=np.int32)
        self._used += missing
        self._since_sweep += count
        return np.concatenate([reused, fresh])

    def write(self, slots: Slots, values: NDArray[Any] | float) -> None:
        """Write rows that `allocate` gave."""
        self.array[slots] = values

    def reclaim(self) -> None:
        """Make rows that nobody refers to any more available, once there may be many; between two swaps."""
        if self._since_sweep > self.capacity // _SWEEPS_PER_CAPACITY:
            self._sweep()

    def _sweep(self) -> None:
        referred = np.zeros(self._used, np.bool_)
        for view in self._views:
            # A damaged slot must not end the sweep.
            referred[np.minimum(view.slots.view(np.uint32), self._used - 1)] = True
        self._free = np.flatnonzero(~referred).astype(np.int32)
        self._since_sweep = 0

    def _reserve(self, capacity: int, values: NDArray[Any]) -> tuple[NDArray[Any], torch.Tensor]:
        array = np.empty((capacity, *values.shape[1:]), values.dtype)
        array[: len(values)] = values
        return array, torch.from_numpy(array).view(self._dtype)


def _capacity(rows: int) -> int:
    # The rows of the anchor and of the newest sequences stay beside each other.
    return 2 * rows + (1 << 16)
