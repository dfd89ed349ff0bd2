"""Repair of damaged memory from the store: the blocks that differ and nothing else, verified before they answer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from viridian_model.chain.change import FREED
from viridian_model.chain.roots import Roots, roots_of_tensors
from viridian_model.errors import BadDelta, BundleError
from viridian_model.merkle import LEAF_ROWS, Positions
from viridian_model.store import StoreError
from viridian_server.failure import LoadFailure
from viridian_server.online.chain import ChainSnapshot
from viridian_server.online.consistency import Damage
from viridian_server.online.index import HashIndex
from viridian_server.online.links import LinkIndex
from viridian_server.online.reaching import Refused
from viridian_server.online.repair import BlockSource, holds
from viridian_server.online.residents import ChainResidents
from viridian_server.online.table import ServedTable, TableView
from viridian_server.online.weights import Weights

log = logging.getLogger(__name__)

Reload = Callable[[ChainSnapshot], Weights]


class CannotRepair(Exception):
    """Neither the blocks nor the whole chain could be had again; the text says why."""


@dataclass(frozen=True)
class Repaired:
    """The state with the published content; ``bytes`` is what was fetched, ``blocks`` how many leaves that were."""

    snapshot: ChainSnapshot
    blocks: int
    bytes: int


class Mender:
    """Repairs states; its callers hold ``residents.writing``."""

    def __init__(self, residents: ChainResidents, links: LinkIndex, reload: Reload) -> None:
        """``reload`` makes the weights of a state anew, where blocks are not enough."""
        self._residents, self._links, self._reload = residents, links, reload

    def prepare(self) -> None:
        """Learn where rows stand in merged links; without that, a repair reads their positions first."""
        try:
            self._links.complete()
        except (BundleError, StoreError) as problem:
            log.warning("a merged link cannot be read", extra={"error": str(problem)})

    def mend(self, state: ChainSnapshot, damage: Damage) -> Repaired:
        """Repair ``state``, and those residents that share the damaged memory with it; what answered is swapped.

        Raises:
            CannotRepair: it answers on, and should get no new traffic.
        """
        source = BlockSource(self._links, state.position)
        try:
            weights = self._rebuilt(state, damage, source)
            size, others = source.bytes, self._others(state, weights, damage)
        except (BundleError, StoreError) as error:
            weights, size, others = self._reloaded(state, error), source.bytes + _size(state), {}
        repaired = state.with_weights(weights)
        self._residents.replace({state: repaired, **others})
        return Repaired(repaired, sum(len(leaves) for leaves in damage.leaves.values()), size)

    def _rebuilt(self, state: ChainSnapshot, damage: Damage, source: BlockSource) -> Weights:
        weights = state.weights
        if damage.trees is not None:
            weights = replace(weights, roots=damage.trees)
        names = _modules(state)
        tables = dict(weights.tables)
        for name, leaves in damage.leaves.items():
            tables[name] = self._blocks(state, name, leaves, source, names[name])
        for name in damage.indexes:
            tables[name] = replace(tables[name], index=HashIndex.of(tables[name].ids, FREED))
        tensors = {**weights.tensors, **{name: source.tensor(name) for name in damage.tensors}}
        rebuilt = Weights(tables, tensors, weights.roots)
        _check_tensors(rebuilt, damage, state.position.root)
        return rebuilt

    def _blocks(
        self, state: ChainSnapshot, name: str, leaves: Positions, source: BlockSource, module: str
    ) -> TableView:
        view, tree = state.weights.tables[name], state.weights.roots.tables[name]
        slots, ids = view.slots.copy(), view.ids.copy()
        for leaf in leaves:
            block = source.block(name, module, int(leaf), view.rows)
            if not holds(tree, block):
                raise BadDelta(f"block {leaf} of table {name!r} in the store is not what was published")
            slots[block.positions] = view.arena.allocate(len(block.positions))
            view.arena.write(slots[block.positions], block.values)
            ids[block.positions] = block.ids  # type: ignore[assignment]  # blocks of tables have ids
        index = view.index if np.array_equal(ids, view.ids) else HashIndex.of(ids, FREED)
        return TableView(view.arena, ids, slots, index)

    def _others(self, state: ChainSnapshot, weights: Weights, damage: Damage) -> Mapping[ChainSnapshot, ChainSnapshot]:
        """Those residents that look at the same damaged rows or tensors, looking at the repaired ones."""
        found = {}
        for other in self._residents.held:
            if other is not state and (shared := _shared(other.weights, state.weights, weights, damage)):
                found[other] = other.with_weights(shared)
        return found

    def _reloaded(self, state: ChainSnapshot, error: Exception) -> Weights:
        try:
            weights = self._reload(state)
        except (BundleError, StoreError, Refused, LoadFailure) as another:
            raise CannotRepair(f"{error}; and the chain cannot be loaded again: {another}") from another
        if weights.roots.root != state.position.root:
            raise CannotRepair(f"{error}; and the chain in the store gives the root {weights.roots.root}")
        return weights


def _shared(other: Weights, damaged: Weights, repaired: Weights, damage: Damage) -> Weights | None:
    tables = dict(other.tables)
    for name, leaves in damage.leaves.items():
        slots = _same_rows(other.tables[name], damaged.tables[name], repaired.tables[name], leaves)
        if slots is not None:
            tables[name] = tables[name].with_slots(slots)
    tensors = {
        name: repaired.tensors[name] if name in damage.tensors and value is damaged.tensors[name] else value
        for name, value in other.tensors.items()
    }
    changed = any(tables[name] is not other.tables[name] for name in tables)
    changed = changed or any(tensors[name] is not other.tensors[name] for name in tensors)
    return Weights(tables, tensors, other.roots) if changed else None


def _same_rows(
    other: TableView, damaged: TableView, repaired: TableView, leaves: Positions
) -> NDArray[np.int32] | None:
    if other.arena is not damaged.arena:
        return None
    positions = (leaves[:, None] * LEAF_ROWS + np.arange(LEAF_ROWS)).ravel()
    positions = positions[positions < min(other.rows, damaged.rows)]
    same = positions[other.slots[positions] == damaged.slots[positions]]
    if len(same) == 0:
        return None
    slots = other.slots.copy()
    slots[same] = repaired.slots[same]
    return slots


def _check_tensors(weights: Weights, damage: Damage, root: str) -> None:
    """Blocks were checked one by one; what is left are tensors, and hashes that were damaged themselves."""
    fetched = roots_of_tensors({name: weights.tensors[name] for name in damage.tensors})
    roots = Roots(weights.roots.tables, {**weights.roots.tensors, **fetched})
    if Roots({name: replace(tree) for name, tree in roots.tables.items()}, roots.tensors).root != root:
        raise BadDelta("the tensors in the store, or the hashes kept here, are not what was published")


def _modules(state: ChainSnapshot) -> dict[str, str]:
    """Names of the modules of tables, under which their tensors are saved."""
    tables = {id(table): name for name, table in state.model.embedding_tables().items()}
    model: Any = state.model
    return {
        tables[id(module)]: path
        for path, module in model.named_modules()
        if isinstance(module, ServedTable) and id(module) in tables
    }


def _size(state: ChainSnapshot) -> int:
    tables = state.weights.tables.values()
    return sum(view.rows * (view.dim * view.arena.array.itemsize + view.ids.itemsize) for view in tables)
