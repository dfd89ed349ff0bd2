"""How often ids were seen that have no row yet, exactly and within bounded memory."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor


class Waiting:
    """Counts per id, by its 64-bit hash, of at most ``limit`` ids: those seen longest ago are forgotten first.

    Exact counts and not a sketch: a sketch admits ids too early once it is full, and nobody could tell which.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._counts: dict[int, int] = {}  # seen longest ago first

    def __len__(self) -> int:
        return len(self._counts)

    def add(self, hashes: Iterable[int]) -> None:
        """Count ids in the order in which they were seen."""
        for identity in hashes:
            self._counts[identity] = self._counts.pop(identity, 0) + 1
            if len(self._counts) > self._limit:
                del self._counts[next(iter(self._counts))]

    def seen(self, identity: int) -> int:
        """How often ``identity`` was seen, as far as it is remembered."""
        return self._counts.get(identity, 0)

    def remove(self, hashes: Iterable[int]) -> None:
        """Forget ids, since they have a row now."""
        for identity in hashes:
            self._counts.pop(identity, None)

    def state(self) -> Tensor:
        """Hashes and counts, int64 ``[2, n]``, seen longest ago first."""
        columns = (np.fromiter(each, dtype=np.int64, count=len(self)) for each in (self._counts, self._counts.values()))
        return torch.from_numpy(np.stack(list(columns)))

    def load(self, state: Tensor) -> None:
        """Go on from what `state` gave; what is beyond the limit was seen longest ago and is forgotten."""
        hashes, counts = state[:, max(0, state.shape[1] - self._limit) :].tolist()
        self._counts = dict(zip(hashes, counts, strict=True))
