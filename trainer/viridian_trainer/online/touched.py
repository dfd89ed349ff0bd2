"""Rows that training may have changed since a delta was built."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from viridian_model.contract import RankingModel
from viridian_model.ids import hash_ids
from viridian_model.merkle import Positions
from viridian_trainer.eventlog import Event


class TouchedRows:
    """Rows of the ids of all events, and row 0, which answers for ids without a row of their own."""

    def __init__(self, model: RankingModel) -> None:
        self._model = model
        self._rows: dict[str, list[Positions]] = {}

    def add(self, events: Iterable[Event]) -> None:
        """Note the rows of ``events``, after they were trained on."""
        features = [event.features for event in events]
        for name, table in self._model.embedding_tables().items():
            if features and name in features[0]:
                rows = table.rows_of(hash_ids(row[name] for row in features)).cpu().numpy()
                self._rows.setdefault(name, []).append(np.unique(rows))

    def add_all(self) -> None:
        """Note every row, where it is not known what differs."""
        for name, table in self._model.embedding_tables().items():
            self._rows[name] = [np.arange(table.rows, dtype=np.int64)]

    def drain(self) -> dict[str, Positions]:
        """Give the rows by table, ascending, and begin anew."""
        found, self._rows = self._rows, {}
        oov = np.zeros(1, dtype=np.int64)
        return {name: np.unique(np.concatenate([oov, *found.get(name, [])])) for name in self._model.embedding_tables()}
