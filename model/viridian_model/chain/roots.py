"""Merkle roots of a whole model, kept up to date change by change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

from numpy.typing import NDArray

from viridian_model.chain.change import Change
from viridian_model.chain.state import ModelState
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
        return cls(tables, roots_of_tensors(state.tensors))

    @cached_property
    def root(self) -> str:
        """The root of bundles, deltas, heads and replicas (hex)."""
        return root_of_model({name: tree.root for name, tree in self.tables.items()}, self.tensors)

    def after(self, change: Change, gone: Mapping[str, Rows], state: ModelState) -> Roots:
        """Return the roots after a change, at a cost of the rows that it touches.

        Args:
            change: what was written; only the positions are read from it.
            gone: for each table of the change the rows as they were, see `gone_of`.
            state: the state after the change. The rows are read from it, so that what was really written is hashed.
        """
        new = {name: state.tables[name].take(table.touched) for name, table in change.tables.items()}
        return self._replaced(change, gone, new, {name: state.tensors[name] for name in change.tensors})

    def foresee(self, change: Change, gone: Mapping[str, Rows]) -> Roots:
        """Return what `after` will return once ``change`` is applied."""
        new = {name: table.written for name, table in change.tables.items()}
        return self._replaced(change, gone, new, change.tensors)

    def _replaced(
        self, change: Change, gone: Mapping[str, Rows], new: Mapping[str, Rows], tensors: Mapping[str, NDArray[Any]]
    ) -> Roots:
        trees = {
            name: self.tables[name].replace(gone[name], new[name], table.rows) for name, table in change.tables.items()
        }
        return Roots({**self.tables, **trees}, {**self.tensors, **roots_of_tensors(tensors)})


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
    state.write(change)
    return roots.after(change, gone, state)


def root_of_model(tables: Mapping[str, str], tensors: Mapping[str, str]) -> str:
    """Combine the roots of tables and of other tensors, by name, into that of the model (hex)."""
    named = {f"table/{name}": root for name, root in tables.items()}
    return root_of_roots(named | {f"dense/{name}": root for name, root in tensors.items()})


def roots_of_tensors(tensors: Mapping[str, NDArray[Any]]) -> dict[str, str]:
    """Root of each tensor as a table ``[first dimension, rest]``."""
    return {
        name: MerkleTree.of(
            value.reshape(-1, 1) if value.ndim < 2 else value.reshape(len(value), prod(value.shape[1:]))
        ).root
        for name, value in tensors.items()
    }
