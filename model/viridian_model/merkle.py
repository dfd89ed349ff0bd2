"""Merkle tree over the rows of a table that costs O(rows) to update, however the rows are spread.

Every row has a 128-bit hash of its position, its id and its values: two lanes of the multilinear hash of its 32-bit
words (Lemire, Kaser: Strongly universal string hashing is fast, The Computer Journal 57(11), 2014), each finished by
the mixer of splitmix64. A leaf is the sum of the hashes of its 256 rows, modulo 2⁶⁴ per lane (AdHash: Bellare,
Micciancio, A new paradigm for collision-free hashing, EUROCRYPT 1997), so that a row is replaced by a subtraction and
an addition. The root is the xxh3-128 of shape, element type and leaves.

What a change can hide behind: keys are odd, so a change within one 32-bit word (any flip of bits of one value, half an
id, or a position) always changes the hash of its row and the sum of its leaf. Over the choice of the keys, two given
rows have the same hash with probability at most 2⁻⁶⁶; with a good mixer, different sets of row hashes have the same
sum, and different leaves the same root, with about 2⁻¹²⁸. The keys are fixed, so this finds corruption and says where
it is; it is no defence against an attacker, that is what the SHA-256 digests are for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np
import xxhash
from numpy.typing import NDArray

from viridian_model.canonical import canonical_json

LEAF_ROWS = 256
LANES = 2

Array = NDArray[Any]
Words = NDArray[np.uint64]
Positions = NDArray[np.int64]

_CHUNK_WORDS = 1 << 17
_LOW = np.uint64(0xFFFFFFFF)
_ROW_KEYS = 3  # of position, lower and upper half of the id


class Rows(NamedTuple):
    """Some rows of a table: distinct positions ``[k]``, values ``[k, dim]``, and ids ``[k]`` if the table has any."""

    positions: Positions
    values: Array
    ids: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class MerkleTree:
    """Tree of a table ``[rows, dim]``; itself never changes.

    ``leaves`` is uint64 ``[2, ⌈rows / 256⌉]``; leaf ``i`` covers rows ``256 i`` to ``256 i + 255``.
    """

    rows: int
    dim: int
    dtype: str
    leaves: Words

    @classmethod
    def of(cls, values: Array, ids: NDArray[np.int64] | None = None) -> MerkleTree:
        """Hash a whole table.

        Raises:
            ValueError: ``values`` is not ``[rows, dim]``, or ``ids`` not ``[rows]``.
        """
        if values.ndim != 2:
            raise ValueError(f"a Merkle tree needs a table [rows, dim], not an array of shape {list(values.shape)}")
        if ids is not None and ids.shape != values.shape[:1]:
            raise ValueError(f"{len(values)} rows need as many ids, not {list(ids.shape)}")
        empty = cls(0, values.shape[1], values.dtype.name, np.zeros((LANES, 0), np.uint64))
        every = Rows(np.arange(len(values), dtype=np.int64), values, ids)
        return empty.replace(_nothing(every), every, len(values))

    @cached_property
    def root(self) -> str:
        """Root in hex (32 characters)."""
        header = f"{self.rows}x{self.dim}:{self.dtype}:".encode()
        return str(xxhash.xxh3_128_hexdigest(header + self.leaves.astype("<u8").tobytes()))

    def replace(self, gone: Rows, new: Rows, rows: int) -> MerkleTree:
        """Return the tree of the table with ``rows`` rows in which ``new`` stand where ``gone`` stood.

        ``gone`` are the rows as this tree knows them; a row that only one of both has was added or dropped.

        Raises:
            IndexError: a position that the table does not have.
        """
        leaves = np.zeros((LANES, max(_leaves(self.rows), _leaves(rows))), np.uint64)
        leaves[:, : self.leaves.shape[1]] = self.leaves
        for block, limit, apply in ((gone, self.rows, np.subtract), (new, rows, np.add)):
            _check(block.positions, limit)
            for part in _chunks(block):
                _scatter(apply, leaves, part.positions // LEAF_ROWS, _hashes(part))
        return MerkleTree(rows, self.dim, self.dtype, leaves[:, : _leaves(rows)].copy())

    def differing(self, other: MerkleTree) -> NDArray[np.int64]:
        """Return the numbers of the leaves that are not the same in both, ascending.

        Raises:
            ValueError: they are of tables with another width or element type, so nothing can be repaired by rows.
        """
        if (self.dim, self.dtype) != (other.dim, other.dtype):
            raise ValueError(
                f"a table {self.dim}:{self.dtype} has no rows in common with one {other.dim}:{other.dtype}"
            )
        common = min(self.leaves.shape[1], other.leaves.shape[1])
        different = np.flatnonzero((self.leaves[:, :common] != other.leaves[:, :common]).any(axis=0))
        more = np.arange(common, max(self.leaves.shape[1], other.leaves.shape[1]))
        return np.concatenate([different, more])


def root_of_roots(roots: Mapping[str, str]) -> str:
    """Combine the roots of several tensors, by name, into one (hex)."""
    return str(xxhash.xxh3_128_hexdigest(canonical_json(dict(roots))))


def _nothing(like: Rows) -> Rows:
    return Rows(like.positions[:0], like.values[:0], None if like.ids is None else like.ids[:0])


def _leaves(rows: int) -> int:
    return -(-rows // LEAF_ROWS)


def _check(positions: Positions, rows: int) -> None:
    if len(positions) and not (positions.min() >= 0 and positions.max() < rows):
        raise IndexError(f"rows {positions.min()} to {positions.max()} of a table with {rows} rows")


def _chunks(block: Rows) -> list[Rows]:
    """Pieces whose words stay in the cache of a core."""
    width = max(1, block.values.shape[1] * block.values.itemsize // 4)
    step = max(LEAF_ROWS, _CHUNK_WORDS // width)
    cuts = [slice(start, start + step) for start in range(0, len(block.positions), step)]
    ids = block.ids
    return [Rows(block.positions[cut], block.values[cut], None if ids is None else ids[cut]) for cut in cuts]


def _hashes(block: Rows) -> Words:
    """Return the hash of each row, uint64 ``[2, k]``."""
    words = _words(block.values).astype(np.uint64)
    ids = None if block.ids is None else block.ids.view(np.uint64)
    hashes = np.empty((LANES, len(words)), np.uint64)
    for lane, keys in zip(hashes, _keys(words.shape[1] + _ROW_KEYS), strict=True):
        np.einsum("ij,j->i", words, keys[_ROW_KEYS:], out=lane)
        lane += block.positions.view(np.uint64) * keys[0]
        if ids is not None:
            lane += (ids & _LOW) * keys[1] + (ids >> np.uint64(32)) * keys[2]
    return _mix(hashes)


def _words(values: Array) -> NDArray[np.uint32]:
    """The bytes of each row as little-endian 32-bit words, filled up with zeros."""
    if values.dtype.byteorder == ">":
        raise ValueError("the elements of a table are little-endian")
    raw = np.ascontiguousarray(values).view(np.uint8)
    if missing := -raw.shape[1] % 4:
        raw = np.pad(raw, ((0, 0), (0, missing)))
    return raw.view("<u4")


@lru_cache(maxsize=64)
def _keys(width: int) -> Words:
    """Odd keys ``[2, width]``: consecutive outputs of splitmix64, each lane from a seed of its own."""
    seeds = np.arange(1, LANES + 1, dtype=np.uint64) << np.uint64(32)
    counters: Words = np.add.outer(seeds, np.arange(width, dtype=np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
    return _mix(counters) | np.uint64(1)


def _mix(z: Words) -> Words:
    """Finish in place like splitmix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014)."""
    z ^= z >> np.uint64(30)
    z *= np.uint64(0xBF58476D1CE4E5B9)
    z ^= z >> np.uint64(27)
    z *= np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return z


def _scatter(apply: np.ufunc, leaves: Words, numbers: NDArray[np.int64], hashes: Words) -> None:
    """Add hashes to, or subtract them from, the leaves that they belong to."""
    for lane, row_hashes in zip(leaves, hashes, strict=True):
        apply.at(lane, numbers, row_hashes)
