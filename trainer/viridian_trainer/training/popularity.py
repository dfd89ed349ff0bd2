"""Labels per item, kept through a lineage: the popularity baseline that a model has to beat."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_NAMES = ("popularity/items", "popularity/events", "popularity/clicks")

#: Events with the base rate that every item is given beforehand.
PRIOR_EVENTS = 20.0


class ItemCounts:
    """Events and positive labels per item, by the 64-bit hash of the item."""

    def __init__(self) -> None:
        self._counts: dict[int, list[int]] = {}

    @classmethod
    def load(cls, tensors: Mapping[str, Tensor]) -> ItemCounts:
        """The counts kept in ``optimizer.safetensors``; empty where there are none."""
        counts = cls()
        if all(name in tensors for name in _NAMES):
            items, events, clicks = (tensors[name].tolist() for name in _NAMES)
            counts._counts = {item: [n, k] for item, n, k in zip(items, events, clicks, strict=True)}
        return counts

    def add(self, items: Tensor, labels: Tensor) -> None:
        """Count events: ``items`` int64 hashes ``[n]``, ``labels`` 0 or 1 ``[n]``."""
        for item, label in zip(items.tolist(), labels.tolist(), strict=True):
            count = self._counts.setdefault(item, [0, 0])
            count[0] += 1
            count[1] += int(label)

    def state(self) -> dict[str, Tensor]:
        """Tensors ``[items]`` for ``optimizer.safetensors``, ordered by hash."""
        items = sorted(self._counts)
        columns = (items, [self._counts[i][0] for i in items], [self._counts[i][1] for i in items])
        return {name: torch.tensor(column, dtype=torch.int64) for name, column in zip(_NAMES, columns, strict=True)}

    def predict(self, items: NDArray[np.int64]) -> NDArray[np.float64]:
        """Smoothed rate of positive labels of each item ``[n]``, the base rate for unknown ones."""
        events = sum(count[0] for count in self._counts.values())
        clicks = sum(count[1] for count in self._counts.values())
        base = (clicks + 1.0) / (events + 2.0)
        unique, inverse = np.unique(items, return_inverse=True)
        known = [self._counts.get(int(item), (0, 0)) for item in unique]
        rates = np.array([(k + PRIOR_EVENTS * base) / (n + PRIOR_EVENTS) for n, k in known])
        return rates[inverse]
