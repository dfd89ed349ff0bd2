"""Merkle tree over the rows of a 2-D tensor: xxh3-128, leaves of 256 rows, fan-out 16.

The hash finds corruption and says where it is; it is no defence against an attacker, that is what the SHA-256
digests of the bundle are for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
import xxhash
from torch import Tensor

from viridian_model.canonical import canonical_json

LEAF_ROWS = 256
FAN_OUT = 16


class MerkleTree:
    """Tree over ``table`` ``[rows, dim]`` and, if given, the ids ``[rows]`` of its rows.

    The tree looks at the tensors it was given, so that after rows were written in place `update` only hashes
    the leaves that hold them. The root also covers row count, width and element type.
    """

    def __init__(self, table: Tensor, ids: Tensor | None = None) -> None:
        if table.dim() != 2:
            raise ValueError(f"a Merkle tree needs a table [rows, dim], not a tensor of shape {list(table.shape)}")
        if ids is not None and ids.shape != table.shape[:1]:
            raise ValueError(f"{len(table)} rows need as many ids, not {list(ids.shape)}")
        self._table, self._ids = table, ids
        leaves = [self._leaf(i) for i in range(-(-len(table) // LEAF_ROWS))]
        self._levels = [leaves or [xxhash.xxh3_128_digest(b"empty")]]
        while len(self._levels[-1]) > 1:
            below = self._levels[-1]
            self._levels.append([_node(below, i) for i in range(-(-len(below) // FAN_OUT))])

    @property
    def root(self) -> str:
        """Root in hex (32 characters)."""
        shape = f"{len(self._table)}x{self._table.shape[1]}:{self._table.dtype}:".encode()
        return xxhash.xxh3_128_hexdigest(shape + self._levels[-1][0])

    @property
    def leaves(self) -> tuple[str, ...]:
        """Hashes of the leaves in hex; leaf ``i`` holds rows ``256 i`` to ``256 i + 255``."""
        return tuple(leaf.hex() for leaf in self._levels[0])

    def update(self, rows: Iterable[int]) -> str:
        """Hash the leaves that hold ``rows`` again, and what stands above them; return the new root.

        Raises:
            IndexError: a row that the table does not have.
        """
        touched = set()
        for row in rows:
            if not 0 <= row < len(self._table):
                raise IndexError(f"row {row} of a table with {len(self._table)} rows")
            touched.add(row // LEAF_ROWS)
        for leaf in touched:
            self._levels[0][leaf] = self._leaf(leaf)
        for depth, level in enumerate(self._levels[1:]):
            touched = {index // FAN_OUT for index in touched}
            for index in touched:
                level[index] = _node(self._levels[depth], index)
        return self.root

    def _leaf(self, index: int) -> bytes:
        block = slice(index * LEAF_ROWS, (index + 1) * LEAF_ROWS)
        hasher = xxhash.xxh3_128(_bytes(self._table[block]))
        if self._ids is not None:
            hasher.update(_bytes(self._ids[block]))
        return bytes(hasher.digest())


def root_of_roots(roots: Mapping[str, str]) -> str:
    """Combine the roots of several tensors, by name, into one (hex)."""
    return str(xxhash.xxh3_128_hexdigest(canonical_json(dict(roots))))


def _node(level: list[bytes], index: int) -> bytes:
    return bytes(xxhash.xxh3_128_digest(b"".join(level[index * FAN_OUT : (index + 1) * FAN_OUT])))


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes()
