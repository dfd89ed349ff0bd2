"""From the hash of an id to its position in a table, without ever changing what a reader looks at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from viridian_model.ids import OOV_HASH

Hashes = NDArray[np.int64]
Positions = NDArray[np.int64]

_SMALLEST_LIMIT = 1 << 14


@dataclass(frozen=True)
class HashIndex:
    """Two sorted lists of hashes and their positions: most of them, and those that came since.

    An entry may be out of date, because its id lost the position; the ids of the table decide (see `find`), so that a
    row that is freed costs nothing here.
    """

    keys: Hashes
    positions: Positions
    new_keys: Hashes
    new_positions: Positions

    @classmethod
    def of(cls, ids: Hashes, freed: int) -> HashIndex:
        """Index a table with ``ids`` ``[rows]``; those equal to ``freed`` belong to nobody."""
        live = np.flatnonzero(ids != freed)
        order = np.argsort(ids[live])
        none = np.zeros(0, np.int64)
        return cls(ids[live][order], live[order], none, none)

    def find(self, hashes: Hashes, ids: Hashes) -> Positions:
        """Return the position of each hash in a table with ``ids``, 0 for one that it does not know."""
        positions = _search(self.keys, self.positions, hashes)
        known = ids[positions] == hashes
        if len(self.new_keys) and not known.all():
            newer = _search(self.new_keys, self.new_positions, hashes)
            positions, known = np.where(known, positions, newer), known | (ids[newer] == hashes)
        return np.where(known, positions, 0)

    def with_new(self, hashes: Hashes, positions: Positions, ids: Hashes, freed: int) -> HashIndex:
        """Return the index after ``hashes`` came to stand at ``positions`` of a table that has ``ids`` by now."""
        # What comes back to where it stood is found there again: each live row has one entry that holds.
        back = _search(self.keys, self.positions, hashes) == positions
        hashes, positions = hashes[~back], positions[~back]
        if len(hashes) == 0:
            return self
        keys = np.concatenate([self.new_keys, hashes])
        if len(keys) > max(_SMALLEST_LIMIT, len(self.keys) // 16):
            return HashIndex.of(ids, freed)
        # the last one of equal keys is what holds now
        unique, last = np.unique(keys[::-1], return_index=True)
        places = np.concatenate([self.new_positions, positions])[::-1][last]
        return HashIndex(self.keys, self.positions, unique, places)

    def valid(self, ids: Hashes) -> int:
        """Count the entries that agree with ``ids``; all live rows of an undamaged index do."""
        return sum(
            int((_at(ids, positions) == keys).sum())
            for keys, positions in ((self.keys, self.positions), (self.new_keys, self.new_positions))
        )


def _search(keys: Hashes, positions: Positions, hashes: Hashes) -> Positions:
    at = np.minimum(np.searchsorted(keys, hashes), len(keys) - 1)
    return np.where(keys[at] == hashes, positions[at], OOV_HASH)


def _at(ids: Hashes, positions: Positions) -> Hashes:
    return ids.take(positions, mode="clip")
