"""Merkle roots of a whole model, kept up to date change by change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from numpy.typing import NDArray

from viridian_model.chain.change import Change
from viridian_model.chain.state import ModelState
from viridian_model.errors import BadDelta
from viridian_model.merkle import MerkleTree, Rows, root_of_roots


@dataclass(frozen=True)
class Roots:
    """Trees of the tables and roots of the other tensors of one state; itself never changes."""

    tables: Mapping[str, MerkleTree]
    tensors: Mapping[str, str]

    @classmethod
    def of(cls, state: ModelState) -> Roots:
        """Hash a whole state."""
        tables = {name: MerkleTree.of(table.values, table.ids) for name, table in state.tables.items()}
        return cls(tables, {name: root_of_tensor(value) for name, value in state.tensors.items()})

    @cached_property
    def root(self) -> str:
        """The root of bundles, deltas, heads and replicas (hex)."""
        tables = {f"table/{name}": tree.root for name, tree in self.tables.items()}
        return root_of_roots(tables | {f"dense/{name}": root for name, root in self.tensors.items()})

    def after(self, change: Change, gone: Mapping[str, Rows], state: ModelState) -> Roots:
        """Return the roots after a change, at a cost of the rows that it touches.

        Args:
            change: what was written; only the positions are read from it.
            gone: for each table of the change the rows as they were, see `gone_of`.
            state: the state after the change. The rows are read from it, so that what was really written is hashed.
        """
        tables = dict(self.tables)
        for name, table in change.tables.items():
            new = state.tables[name].take(table.touched)
            tables[name] = tables[name].replace(gone[name], new, state.tables[name].rows)
        tensors = {name: root_of_tensor(state.tensors[name]) for name in change.tensors}
        return Roots(tables, {**self.tensors, **tensors})


def gone_of(change: Change, state: ModelState) -> dict[str, Rows]:
    """Copy the rows of ``state`` that ``change`` takes the place of."""
    return {name: state.tables[name].take(table.touched) for name, table in change.tables.items()}


def advance(state: ModelState, roots: Roots, change: Change) -> Roots:
    """Apply a change in place and return the roots after it.

    Raises:
        BadDelta: it is not one of this state; nothing was written.
    """
    state.check(change)
    gone = gone_of(change, state)
    state.apply(change)
    return roots.after(change, gone, state)


def replay(state: ModelState, roots: Roots, changes: Mapping[str, Change]) -> Roots:
    """Apply changes in order, each under the root that the state has to have after it.

    Raises:
        BadDelta: a change does not lead to its root; what came before it stays applied.
    """
    for wanted, change in changes.items():
        roots = advance(state, roots, change)
        if roots.root != wanted:
            raise BadDelta(f"a delta leads to the root {roots.root}, its manifest says {wanted}")
    return roots


def root_of_tensor(value: NDArray[Any]) -> str:
    """Root of a tensor as a table ``[first dimension, rest]``."""
    return MerkleTree.of(value.reshape(len(value), -1) if value.ndim > 1 else value.reshape(-1, 1)).root
