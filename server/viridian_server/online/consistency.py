"""The check of the memory that answers against what was published, and its repair.

The bytes themselves are hashed, row by row from where requests read them, never a hash that was kept. What is compared
is one sequence with itself: a replica that lags is late, not damaged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from viridian_model.chain.change import FREED
from viridian_model.chain.roots import Roots, roots_of_tensors
from viridian_model.merkle import MerkleTree, Positions, Rows
from viridian_server.online.table import TableView
from viridian_server.online.weights import Weights

_SLICE_ROWS = 1 << 13

Pace = Callable[[], None]


@dataclass(frozen=True)
class Damage:
    """What differs: leaves by table, tensors, and tables whose index finds other rows.

    ``trees`` are the right hashes where only those that were kept are damaged.
    """

    leaves: Mapping[str, Positions] = field(default_factory=dict)
    tensors: tuple[str, ...] = ()
    indexes: tuple[str, ...] = ()
    trees: Roots | None = None

    @property
    def cause(self) -> str:
        """One word for logs and metrics."""
        found = (("Rows", self.leaves), ("Tensors", self.tensors), ("Index", self.indexes), ("Trees", self.trees))
        return "+".join(word for word, any_of_it in found if any_of_it)


def inspect(weights: Weights, root: str, pace: Pace = lambda: None) -> Damage | None:
    """Hash what ``weights`` answer from and compare it with the published ``root``; None if it is what was published.

    ``pace`` is called every 8192 rows, so that requests come first.
    """
    trees = {name: tree_of(view, pace) for name, view in weights.tables.items()}
    now = Roots(trees, roots_of_tensors(weights.tensors))
    indexes = tuple(name for name, view in weights.tables.items() if not _index_holds(view, pace))
    kept = Roots({name: replace(tree) for name, tree in weights.roots.tables.items()}, weights.roots.tensors)
    if now.root == root:
        trees_damaged = kept.root != root
        return Damage(indexes=indexes, trees=now if trees_damaged else None) if indexes or trees_damaged else None
    leaves = {name: trees[name].differing(kept.tables[name]) for name in trees}
    tensors = tuple(name for name, found in now.tensors.items() if found != kept.tensors[name])
    return Damage({name: found for name, found in leaves.items() if len(found)}, tensors, indexes)


def tree_of(view: TableView, pace: Pace = lambda: None) -> MerkleTree:
    """Hash a table from the memory that answers."""
    tree = MerkleTree(0, view.dim, view.arena.array.dtype.name, np.zeros((2, 0), np.uint64))
    for start in range(0, view.rows, _SLICE_ROWS):
        stop = min(view.rows, start + _SLICE_ROWS)
        rows = view.take(np.arange(start, stop, dtype=np.int64))
        tree = tree.replace(Rows(rows.positions[:0], rows.values[:0], view.ids[:0]), rows, stop)
        pace()
    return tree


def _index_holds(view: TableView, pace: Pace) -> bool:
    pace()
    return view.index.valid(view.ids) == int((view.ids != FREED).sum())
