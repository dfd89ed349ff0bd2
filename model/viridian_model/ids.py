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

from viridian_model.chain.change import FREED

OOV_HASH = 0
"""Stands for "no known id"; it belongs to row 0 of every table and no value ever hashes to it."""

_MERGE_AT = 1024


def id_hash(value: str | int) -> int:
    """Return the signed 64-bit hash of one categorical value; never `OOV_HASH` or `FREED`."""
    unsigned = xxhash.xxh3_64_intdigest(str(value).encode("utf-8", "surrogatepass"))
    signed = unsigned - (1 << 64) if unsigned >= 1 << 63 else unsigned
    return signed + 1 if signed in (OOV_HASH, FREED) else signed


def hash_ids(values: Iterable[str | int]) -> Tensor:
    """Return the hashes of categorical values as an int64 tensor ``[n]``."""
    return torch.from_numpy(np.fromiter(map(id_hash, values), dtype=np.int64))


class IdIndex:
    """Hash → row: most ids in a sorted array (16 bytes each), the newest in a dictionary until it is full.

    Rows that were taken from their ids are given to new ones first, the lowest row first, so that equal tables
    grow in the same way, whatever led to them.
    """

    _keys: NDArray[np.int64]
    _rows: NDArray[np.int64]

    def __init__(self, hashes: NDArray[np.int64]) -> None:
        """Index ``hashes`` ``[rows]``: the position of a hash is its row, row 0 is the out-of-vocabulary row.

        Raises:
            ValueError: row 0 is not `OOV_HASH`, or a hash other than `FREED` stands twice.
        """
        if len(hashes) == 0 or hashes[0] != OOV_HASH:
            raise ValueError("row 0 of a table is the out-of-vocabulary row, its id must be 0")
        self._recent: dict[int, int] = {}
        self._size = len(hashes)
        used = hashes != FREED
        self._free = np.flatnonzero(~used)[::-1].tolist()  # the lowest last, where it is taken from
        self._order(hashes[used], np.flatnonzero(used))
        if np.any(self._keys[1:] == self._keys[:-1]):
            raise ValueError("an id stands twice in one table")

    def __len__(self) -> int:
        """Rows, those that were freed included."""
        return self._size

    def rows_of(self, hashes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the row of each hash ``[n]``, 0 for an unknown one."""
        at = np.minimum(np.searchsorted(self._keys, hashes), len(self._keys) - 1)
        rows: NDArray[np.int64] = np.where(self._keys[at] == hashes, self._rows[at], 0)
        if self._recent:
            for position in np.nonzero(rows == 0)[0]:
                rows[position] = self._recent.get(int(hashes[position]), 0)
        return rows

    def add(self, hashes: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Give the unknown ones of ``hashes`` rows, in the order of their hashes; return those, and their rows."""
        unique = np.unique(hashes)
        unknown: NDArray[np.int64] = unique[(self.rows_of(unique) == 0) & ~np.isin(unique, (OOV_HASH, FREED))]
        rows = self._take(len(unknown))
        self._recent.update(zip(unknown.tolist(), rows.tolist(), strict=True))
        if len(self._recent) > max(_MERGE_AT, len(self._keys) // 8):
            self._merge()
        return unknown, rows

    def remove(self, rows: NDArray[np.int64]) -> None:
        """Forget the ids of ``rows``, each of which has one; reads the whole index."""
        self._merge()
        kept = ~np.isin(self._rows, rows)
        self._keys, self._rows = self._keys[kept], self._rows[kept]
        self._free = sorted([*self._free, *rows.tolist()], reverse=True)

    def _take(self, count: int) -> NDArray[np.int64]:
        reused = [self._free.pop() for _ in range(min(count, len(self._free)))]
        end = self._size + count - len(reused)
        rows = np.array([*reused, *range(self._size, end)], dtype=np.int64)
        self._size = end
        return rows

    def _merge(self) -> None:
        count = len(self._recent)
        keys = np.fromiter(self._recent.keys(), dtype=np.int64, count=count)
        rows = np.fromiter(self._recent.values(), dtype=np.int64, count=count)
        self._recent = {}
        self._order(np.concatenate([self._keys, keys]), np.concatenate([self._rows, rows]))

    def _order(self, keys: NDArray[np.int64], rows: NDArray[np.int64]) -> None:
        order = np.argsort(keys, kind="stable")
        self._keys, self._rows = keys[order], rows[order]
