"""Fetch single blocks of a table, and single tensors, as they were published."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from viridian_model.chain.change import FREED
from viridian_model.chain.quantisation import restore
from viridian_model.merkle import LEAF_ROWS, MerkleTree, Rows
from viridian_model.publication.follower import Position
from viridian_server.online.links import File, Link, LinkIndex


class BlockSource:
    """Replays a chain for 256 rows at a time; moves those rows and no others. Counts the bytes."""

    def __init__(self, links: LinkIndex, position: Position) -> None:
        self._links, self._position = links, position
        self._anchor: File | None = None
        self._opened: list[tuple[Link, File]] | None = None

    @property
    def bytes(self) -> int:
        """What was moved."""
        files = [file for _, file in self._opened or ()]
        return sum(file.bytes for file in (*files, *([self._anchor] if self._anchor else ())))

    def block(self, table: str, module: str, leaf: int, rows: int) -> Rows:
        """Return the rows of a leaf of ``table``, whose tensors are named ``<module>.weight`` and ``<module>.ids``.

        Raises:
            BadDelta: a file is not what it should be.
            Absent, StoreUnavailable, StoreRefused: a file cannot be read.
        """
        low, high = leaf * LEAF_ROWS, min((leaf + 1) * LEAF_ROWS, rows)
        block = self._of_anchor(module, low, high)
        for link, file in self._chain():
            if table in link.written:
                _replay(block, table, link, file, low, high)
        return block

    def tensor(self, name: str) -> NDArray[Any]:
        """Return a tensor that belongs to no table; raises what `block` raises."""
        for _, file in reversed(self._chain()):
            if f"tensors/{name}" in file:
                return _restored(file, f"tensors/{name}", f"scales/{name}").copy()
        return self._anchored().rows(name).copy()

    def _of_anchor(self, module: str, low: int, high: int) -> Rows:
        anchor = self._anchored()
        there = max(low, min(high, anchor.length(f"{module}.ids")))
        values, ids = (anchor.rows(f"{module}.{part}", low, there) for part in ("weight", "ids"))
        block = Rows(
            np.arange(low, high, dtype=np.int64),
            np.zeros((high - low, *values.shape[1:]), values.dtype),
            np.full(high - low, FREED, dtype=np.int64),
        )
        block.values[: there - low], block.ids[: there - low] = values, ids  # type: ignore[index]
        return block

    def _anchored(self) -> File:
        if self._anchor is None:
            self._anchor = self._links.open_anchor(self._position.anchor)
        return self._anchor

    def _chain(self) -> list[tuple[Link, File]]:
        if self._opened is None:
            self._opened = [self._links.open(digest) for digest in self._position.chain]
        return self._opened


def holds(tree: MerkleTree, block: Rows) -> bool:
    """Say whether ``block``, which are all rows of one leaf, are those that ``tree`` was made from."""
    leaf = int(block.positions[0]) // LEAF_ROWS
    return bool((leaf_of(tree, block) == tree.leaves[:, leaf]).all())


def leaf_of(tree: MerkleTree, block: Rows) -> NDArray[np.uint64]:
    """Return the hash that a leaf of ``tree`` would have if it held ``block``."""
    nothing = Rows(block.positions[:0], block.values[:0], None if block.ids is None else block.ids[:0])
    empty = MerkleTree(tree.rows, tree.dim, tree.dtype, np.zeros_like(tree.leaves))
    leaf = int(block.positions[0]) // LEAF_ROWS
    return empty.replace(nothing, block, tree.rows).leaves[:, leaf]


def _replay(block: Rows, table: str, link: Link, file: File, low: int, high: int) -> None:
    """Write what one link did to the rows ``low`` to ``high``."""
    positions, removed = link.written[table], link.removed[table]
    first, last = np.searchsorted(positions, [low, high])
    if first < last:
        here = positions[first:last] - low
        block.values[here] = _restored(file, f"rows/{table}/values", f"rows/{table}/scale", int(first), int(last))
        block.ids[here] = file.rows(f"rows/{table}/ids", int(first), int(last))  # type: ignore[index]
    first, last = np.searchsorted(removed, [low, high])
    freed = removed[first:last] - low
    block.values[freed], block.ids[freed] = 0, FREED  # type: ignore[index]


def _restored(file: File, name: str, scale: str, start: int = 0, stop: int | None = None) -> NDArray[Any]:
    values = file.rows(name, start, stop)
    return restore(file.rows(scale, start, stop), values) if scale in file else values
