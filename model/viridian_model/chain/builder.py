"""Build deltas from the state of a trainer, against a shadow of what readers serve."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from viridian_model.chain.change import FREED, Change, Encoding, TableChange, encode
from viridian_model.chain.delta import Delta, Trained, seal
from viridian_model.chain.quantisation import rounded
from viridian_model.chain.roots import Roots, gone_of
from viridian_model.chain.state import ModelState, Table
from viridian_model.merkle import Positions


@dataclass(frozen=True)
class Selection:
    """What goes into a delta: of the touched rows the ``share`` with the largest changes (0 to 1), dense tensors every
    ``dense_every``-th time, and how values are encoded.

    The rest is carried over to the next delta. New and freed rows are always sent.
    """

    share: float = 1.0
    dense_every: int = 1
    encoding: Encoding = "fp32"

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(f"the share of rows that are sent must be above 0 and at most 1, not {self.share}")
        if self.dense_every < 1:
            raise ValueError(
                f"dense tensors are sent with every n-th delta, n must be at least 1, not {self.dense_every}"
            )

    @property
    def everything(self) -> Selection:
        """The same without anything that is carried over."""
        return replace(self, share=1.0, dense_every=1)

    @property
    def is_exact(self) -> bool:
        """Whether readers have exactly the weights of the trainer after every delta."""
        return self == Selection()


@dataclass(frozen=True)
class Built:
    """A delta that was not published yet, and the roots of what readers serve after it."""

    delta: Delta
    roots: Roots
    change: Change


class DeltaBuilder:
    """Belongs to one thread. Keeps a copy of what readers serve (the *shadow*) and the rows that wait to be sent.

    `build` changes nothing that readers depend on: call `commit` when the delta is published, or `build` again, which
    then also holds what changed since.
    """

    def __init__(self, model: str, anchor: str, served: ModelState, selection: Selection | None = None) -> None:
        """``served`` is the state of the anchor with digest ``anchor``; the builder keeps it, give it a copy."""
        self.model, self.anchor = model, anchor
        self._shadow, self._roots = served, Roots.of(served)
        self._selection = selection or Selection()
        self._waiting: dict[str, Positions] = {}
        self._without_dense = 0

    @property
    def root(self) -> str:
        """Root of what readers serve."""
        return self._roots.root

    @property
    def served(self) -> ModelState:
        """What readers serve; not to be changed."""
        return self._shadow

    def build(
        self,
        state: ModelState,
        touched: Mapping[str, Positions],
        trained: Trained,
        golden: bytes | None = None,
        *,
        everything: bool = False,
    ) -> Built | None:
        """Return a delta from what is served to ``state``, or nothing if no row to send differs.

        Args:
            state: views of the trainer's arrays; only touched rows and dense tensors are read.
            touched: per table the positions that may have changed since the last `build` (more do no harm; new rows
                need not be named), as `ExpandableEmbedding.changed_since` gives them.
            everything: carry nothing over, whatever the selection says.

        Raises:
            BadDelta: a value is not finite, and would have to be rounded.
        """
        selection = self._selection.everything if everything else self._selection
        tables = {
            name: self._table(name, table, touched.get(name, _NONE), selection) for name, table in state.tables.items()
        }
        with_dense = self._without_dense + 1 >= selection.dense_every
        tensors = {
            name: value.copy() for name, value in state.tensors.items() if with_dense and self._differs(name, value)
        }
        wanted = Change({name: table for name, table in tables.items() if table is not None}, tensors)
        if wanted.empty:
            return None
        payload, change = encode(wanted, self._selection.encoding)
        roots = self._roots.foresee(change, gone_of(change, self._shadow))
        delta = seal(
            change,
            payload,
            model=self.model,
            anchor=self.anchor,
            parent_root=self.root,
            root=roots.root,
            trained=trained,
            encoding=self._selection.encoding,
            golden=golden,
        )
        return Built(delta, roots, change)

    def commit(self, built: Built) -> None:
        """Take a published delta into the shadow.

        Raises:
            ValueError: it was built from another state than the present shadow.
        """
        if built.delta.manifest.parent_root != self.root:
            raise ValueError(f"the delta follows on {built.delta.manifest.parent_root}, served is {self.root}")
        self._shadow.apply(built.change)
        self._roots = built.roots
        self._without_dense = 0 if built.change.tensors else self._without_dense + 1
        for name, table in built.change.tables.items():
            self._waiting[name] = np.setdiff1d(self._waiting[name], table.touched, assume_unique=True)

    def _differs(self, name: str, value: NDArray[Any]) -> bool:
        have = self._shadow.tensors[name]
        if have.shape != value.shape:
            return True
        sent = have.tobytes()
        if sent == value.tobytes():
            return False
        return self._selection.encoding == "fp32" or sent != rounded(value).tobytes()

    def _table(self, name: str, table: Table, touched: Positions, selection: Selection) -> TableChange | None:
        served = self._shadow.tables[name]
        waiting = self._waiting.get(name, _NONE)
        new = np.arange(served.rows, table.rows, dtype=np.int64)
        differing = self._differing(np.unique(np.concatenate([touched, waiting, new])), served, table)
        self._waiting[name] = differing
        sent = _selected(differing, served, table, selection.share)
        if len(sent) == 0:
            return None
        freed = table.ids[sent] == FREED
        kept = sent[~freed]
        return TableChange(table.rows, kept, table.ids[kept], table.values[kept], sent[freed])

    def _differing(self, positions: Positions, served: Table, table: Table) -> Positions:
        """Those of ``positions`` (ascending) of which another id or other bytes are served, rounding apart."""
        old = positions[: np.searchsorted(positions, served.rows)]
        have, values = _raw(served.values[old]), table.values[old]
        same = (have == _raw(values)).all(axis=1)
        if self._selection.encoding == "int8":
            same |= (have == _raw(rounded(values))).all(axis=1)
        same &= served.ids[old] == table.ids[old]
        return np.concatenate([old[~same], positions[len(old) :]])


_NONE = np.zeros(0, dtype=np.int64)


def _selected(positions: Positions, served: Table, table: Table, share: float) -> Positions:
    """Those rows that belong to another id than before, and the ``share`` with the largest changes of the others."""
    if share == 1:
        return positions
    old = positions[positions < served.rows]
    optional = old[served.ids[old] == table.ids[old]]
    norms = np.linalg.norm(table.values[optional].astype(np.float64) - served.values[optional], axis=1)
    count = int(np.ceil(share * len(optional)))
    # ties by position, so that equal training gives equal deltas
    left = optional[np.lexsort((optional, -norms))[count:]]
    return np.setdiff1d(positions, left, assume_unique=True)


def _raw(values: NDArray[Any]) -> NDArray[np.uint8]:
    # by bytes: NaN is the same as itself, and -0.0 is not 0.0
    return values.view(np.uint8)
