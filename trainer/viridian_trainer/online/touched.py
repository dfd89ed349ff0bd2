"""Rows that training may have changed since a delta was built."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from viridian_model.contract import RankingModel
from viridian_model.embedding import ExpandableEmbedding
from viridian_model.merkle import Positions


class TouchedRows:
    """Rows that were looked up with gradients, and row 0, which answers for ids without a row of their own.

    The tables themselves are watched, since a model may look up the same table by several fields.
    """

    def __init__(self, model: RankingModel) -> None:
        self._model = model
        self._ids: dict[str, list[Tensor]] = {}
        self._all = False
        for name, table in model.embedding_tables().items():
            table.register_forward_pre_hook(partial(self._note, name))

    def add_all(self) -> None:
        """Note every row, where it is not known what differs."""
        self._all = True

    def drain(self) -> dict[str, Positions]:
        """Give the rows by table, ascending, and begin anew."""
        ids, everything, self._ids, self._all = self._ids, self._all, {}, False
        tables = self._model.embedding_tables()
        if everything:
            return {name: np.arange(table.rows, dtype=np.int64) for name, table in tables.items()}
        return {name: _rows(table, ids.get(name, [])) for name, table in tables.items()}

    def _note(self, name: str, _table: Any, arguments: tuple[Tensor, ...]) -> None:
        if torch.is_grad_enabled():  # predictions change nothing
            self._ids.setdefault(name, []).append(torch.unique(arguments[0]))


def _rows(table: ExpandableEmbedding, ids: list[Tensor]) -> Positions:
    oov = np.zeros(1, dtype=np.int64)
    if not ids:
        return oov
    return np.unique(np.concatenate([oov, table.rows_of(torch.unique(torch.cat(ids))).cpu().numpy()]))
