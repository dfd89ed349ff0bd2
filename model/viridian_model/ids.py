"""Ids of categorical values as 64-bit hashes, and the map from hash to table row.

A value (string or integer; ``5`` and ``"5"`` are the same id) is known by the xxh3-64 of its decimal or UTF-8
text, so a table keeps 8 bytes per id and no strings. Two ids of one table share a row with probability about
n² / 2⁶⁵: 3·10⁻⁸ for a million ids, 3·10⁻⁴ for a hundred million.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
import xxhash
from numpy.typing import NDArray
from torch import Tensor

OOV_HASH = 0
"""Stands for "no known id"; it belongs to row 0 of every table and no value ever hashes to it."""

_MERGE_AT = 1024


def id_hash(value: str | int) -> int:
    """Return the signed 64-bit hash of one categorical value; never `OOV_HASH`."""
    unsigned = xxhash.xxh3_64_intdigest(str(value).encode("utf-8", "surrogatepass")) or 1
    return unsigned - (1 << 64) if unsigned >= 1 << 63 else unsigned


def hash_ids(values: Iterable[str | int]) -> Tensor:
    """Return the hashes of categorical values as an int64 tensor ``[n]``."""
    return torch.from_numpy(np.fromiter(map(id_hash, values), dtype=np.int64))


class IdIndex:
    """Hash → row: most ids in a sorted array (16 bytes each), the newest in a dictionary until it is full."""

    def __init__(self, hashes: NDArray[np.int64]) -> None:
        """Index ``hashes`` ``[rows]``: the position of a hash is its row, row 0 is the out-of-vocabulary row.

        Raises:
            ValueError: row 0 is not `OOV_HASH`, or a hash stands twice.
        """
        if len(hashes) == 0 or hashes[0] != OOV_HASH:
            raise ValueError("row 0 of a table is the out-of-vocabulary row, its id must be 0")
        self._recent: dict[int, int] = {}
        self._size = len(hashes)
        self._order(hashes, np.arange(len(hashes), dtype=np.int64))
        if np.any(self._keys[1:] == self._keys[:-1]):
            raise ValueError("an id stands twice in one table")

    def __len__(self) -> int:
        return self._size

    def rows_of(self, hashes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the row of each hash ``[n]``, 0 for an unknown one."""
        at = np.minimum(np.searchsorted(self._keys, hashes), len(self._keys) - 1)
        rows: NDArray[np.int64] = np.where(self._keys[at] == hashes, self._rows[at], 0)
        if self._recent:
            for position in np.nonzero(rows == 0)[0]:
                rows[position] = self._recent.get(int(hashes[position]), 0)
        return rows

    def add(self, hashes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Give the unknown ones of ``hashes`` the next rows, in the order of their hashes; return those."""
        unique = np.unique(hashes)
        unknown: NDArray[np.int64] = unique[(self.rows_of(unique) == 0) & (unique != OOV_HASH)]
        self._recent.update(zip(unknown.tolist(), range(self._size, self._size + len(unknown)), strict=True))
        self._size += len(unknown)
        if len(self._recent) > max(_MERGE_AT, len(self._keys) // 8):
            self._merge()
        return unknown

    def _merge(self) -> None:
        count = len(self._recent)
        keys = np.fromiter(self._recent.keys(), dtype=np.int64, count=count)
        rows = np.fromiter(self._recent.values(), dtype=np.int64, count=count)
        self._recent = {}
        self._order(np.concatenate([self._keys, keys]), np.concatenate([self._rows, rows]))

    def _order(self, keys: NDArray[np.int64], rows: NDArray[np.int64]) -> None:
        order = np.argsort(keys, kind="stable")
        self._keys, self._rows = keys[order], rows[order]
