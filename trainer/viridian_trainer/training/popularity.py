"""Labels per item, kept through a lineage: the popularity baseline that a model has to beat."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_NAMES = ("popularity/items", "popularity/events", "popularity/clicks")

#: Numbers ``[n]``, whatever holds them.
Column = Tensor | NDArray[Any]

#: Events with the base rate that every item is given beforehand.
PRIOR_EVENTS = 20.0


class ItemCounts:
    """Events and positive labels per item, by the 64-bit hash of the item."""

    def __init__(self) -> None:
        self._counts: dict[int, list[int]] = {}
        self._events = self._clicks = 0

    @classmethod
    def load(cls, tensors: Mapping[str, Tensor]) -> ItemCounts:
        """The counts kept in ``optimizer.safetensors``; empty where there are none."""
        counts = cls()
        if all(name in tensors for name in _NAMES):
            items, events, clicks = (tensors[name].tolist() for name in _NAMES)
            counts._counts = {item: [n, k] for item, n, k in zip(items, events, clicks, strict=True)}
            counts._events, counts._clicks = sum(events), sum(clicks)
        return counts

    def __len__(self) -> int:
        return len(self._counts)

    def add(self, items: Column, labels: Column) -> None:
        """Count events: ``items`` int64 hashes ``[n]``, ``labels`` 0 or 1 ``[n]``."""
        self._count(items, labels, 1)

    def remove(self, items: Column, labels: Column) -> None:
        """Take back what `add` counted; nothing becomes negative where it was never counted."""
        self._count(items, labels, -1)

    def keep(self, items: Column) -> None:
        """Forget all items but these (int64 hashes ``[n]``), as if they had never been counted."""
        kept = set(items.tolist())
        self._counts = {item: count for item, count in self._counts.items() if item in kept}
        self._events, self._clicks = (sum(count[part] for count in self._counts.values()) for part in (0, 1))

    def _count(self, items: Column, labels: Column, sign: int) -> None:
        for item, label in zip(items.tolist(), labels.tolist(), strict=True):
            before = self._counts.get(item, [0, 0])
            after = [max(before[0] + sign, 0), max(before[1] + sign * int(label), 0)]
            self._counts[item] = after
            self._events += after[0] - before[0]
            self._clicks += after[1] - before[1]

    def state(self) -> dict[str, Tensor]:
        """Tensors ``[items]`` for ``optimizer.safetensors``, ordered by hash."""
        items = sorted(self._counts)
        columns = (items, [self._counts[i][0] for i in items], [self._counts[i][1] for i in items])
        return {name: torch.tensor(column, dtype=torch.int64) for name, column in zip(_NAMES, columns, strict=True)}

    def predict(self, items: NDArray[np.int64]) -> NDArray[np.float64]:
        """Smoothed rate of positive labels of each item ``[n]``, the base rate for unknown ones."""
        base = (self._clicks + 1.0) / (self._events + 2.0)
        unique, inverse = np.unique(items, return_inverse=True)
        known = [self._counts.get(int(item), (0, 0)) for item in unique]
        rates = np.array([(k + PRIOR_EVENTS * base) / (n + PRIOR_EVENTS) for n, k in known])
        return rates[inverse]
