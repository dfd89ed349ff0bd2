"""All weights of one sequence, and the model that computes with them."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from numpy.typing import NDArray
from torch import nn

from viridian_model.chain.change import Change, TableChange
from viridian_model.chain.roots import Roots, roots_of_tensors
from viridian_model.contract import RankingModel
from viridian_model.errors import BadDelta
from viridian_model.served import state_of
from viridian_server.online.table import ServedTable, TableView, touched_by

_HOOKS = [name for name, value in vars(nn.Module()).items() if "hooks" in name and isinstance(value, dict)]


class RootMismatch(BadDelta):
    """A delta was applied as it is, and gave another Merkle root than it says."""

    reason = "RootMismatch"


@dataclass(frozen=True, eq=False)
class Weights:
    """Tables, other tensors and their Merkle trees; itself never changes."""

    tables: Mapping[str, TableView]
    tensors: Mapping[str, NDArray[Any]]
    roots: Roots

    @classmethod
    def of(cls, model: RankingModel) -> Weights:
        """Take over what a loaded model holds."""
        state = state_of(model)
        tables = {
            name: TableView.of(state.tables[name].ids, state.tables[name].values, table.weight.dtype)
            for name, table in model.embedding_tables().items()
        }
        tensors = {name: value.copy() for name, value in state.tensors.items()}
        return cls(tables, tensors, Roots.of(state))

    def after(self, changes: Sequence[Change], root: str) -> Weights:
        """Return the weights after ``changes``, at the cost of the rows that they touch.

        What was really written is hashed, and so is what it takes the place of: a row that was damaged in memory
        gives another root as well.

        Raises:
            BadDelta: a change is not one of this model.
            RootMismatch: the result does not have ``root``.
        """
        tables, trees = dict(self.tables), dict(self.roots.tables)
        for name in _names(changes, self.tables):
            of_table = [change.tables[name] for change in changes if name in change.tables]
            tables[name], trees[name] = self._table(name, of_table)
        changed = self._tensors(changes)
        roots = Roots(trees, {**self.roots.tensors, **roots_of_tensors(changed)})
        if roots.root != root:
            raise RootMismatch(f"the Merkle root is {roots.root} now, the delta says {root}")
        return Weights(tables, {**self.tensors, **changed}, roots)

    def put_into(self, model: RankingModel) -> RankingModel:
        """Return a model like ``model`` that computes with these weights and shares them; ``model`` stays as it is."""
        memo: dict[int, Any] = {id(each): each for each in (model.schema, *_hooks(model))}
        for name, table in model.embedding_tables().items():
            memo[id(table)] = ServedTable(table.name, self.tables[name])
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            if name in self.tensors:
                memo[id(tensor)] = _like(tensor, self.tensors[name])
        with torch.inference_mode(mode=False):
            return cast("RankingModel", copy.deepcopy(cast("Any", model), memo))

    def _table(self, name: str, changes: list[TableChange]) -> tuple[TableView, Any]:
        before, touched = self.tables[name], touched_by(changes)
        gone = before.take(touched)
        after = before.after(changes)
        return after, self.roots.tables[name].replace(gone, after.take(touched), after.rows)

    def _tensors(self, changes: Sequence[Change]) -> dict[str, NDArray[Any]]:
        changed = {name: value for change in changes for name, value in change.tensors.items()}
        for name, value in changed.items():
            have = self.tensors.get(name)
            if have is None or (have.shape, have.dtype) != (value.shape, value.dtype):
                has = "none of that name" if have is None else f"{have.dtype} {have.shape}"
                raise BadDelta(f"tensor {name!r} is {value.dtype} {value.shape}, the model has {has}")
        return changed


def _names(changes: Sequence[Change], tables: Mapping[str, TableView]) -> list[str]:
    names = sorted({name for change in changes for name in change.tables})
    if unknown := [name for name in names if name not in tables]:
        raise BadDelta(f"the model has no table {unknown[0]!r}")
    return names


def _hooks(model: Any) -> Iterator[dict[Any, Any]]:
    """The dicts for hooks, a dozen of each module, that nobody uses: models share them, for copying is slow Python."""
    for module in model.modules():
        yield from (vars(module)[name] for name in _HOOKS if not vars(module).get(name, True))


def _like(tensor: torch.Tensor, value: NDArray[Any]) -> torch.Tensor:
    shared = torch.from_numpy(value).view(tensor.dtype)
    return nn.Parameter(shared, requires_grad=False) if isinstance(tensor, nn.Parameter) else shared
