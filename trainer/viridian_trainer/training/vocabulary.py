"""Which ids have a row: new ones are admitted when they were seen often enough, unused ones are evicted.

Admission and eviction as in Monolith (Liu et al., "Monolith: Real Time Recommendation System With Collisionless
Embedding Table", ORSUM 2022, section 2.2). Everything depends on the events and their order only, so that equal
trainings give equal tables.
"""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from viridian_model.contract import RankingModel
from viridian_model.embedding import ExpandableEmbedding
from viridian_model.features import FeatureBatch
from viridian_trainer.errors import BadData
from viridian_trainer.spec import Admission, Eviction
from viridian_trainer.training.optimizer import GrowingAdagrad
from viridian_trainer.training.waiting import Waiting

_LAST_SEEN, _WAITING, _CLOCK = "last-seen/", "waiting/", "events/clock"
#: The clock is the median time of so many newest events: a few with a wrong clock evict nobody.
CLOCK_EVENTS = 101
NEVER = float("-inf")


class Vocabulary:
    """The ids of all tables of one model: when each row was used last, and which ids wait for one.

    Times are seconds of event time, never of a clock on the wall.
    """

    def __init__(
        self, model: RankingModel, optimizer: GrowingAdagrad, admission: Admission, eviction: Eviction
    ) -> None:
        self._model, self._optimizer = model, optimizer
        self._admission, self._eviction = admission, eviction
        self._last_seen = {name: _Times(table.rows) for name, table in model.embedding_tables().items()}
        self._waiting = {name: Waiting(admission.waiting) for name in self._last_seen}
        self._clock: deque[float] = deque(maxlen=CLOCK_EVENTS)

    def meet(self, batch: FeatureBatch, times: Tensor, new: int) -> None:
        """Give the ids of ``batch`` their rows, before it is trained on; ``times`` float64 ``[n]`` are its events'.

        The first ``new`` events count towards admission. The others are replayed: to be drawn again says nothing
        about how often an id occurs, and their old times keep no id alive.
        """
        self._clock.extend(times[:new].tolist())
        if self._admission.count > 1:
            self._count(batch, new)
        self._optimizer.grow({name: self._admitted(name, ids) for name, ids in batch.categorical.items()})
        for name, table in self._model.embedding_tables().items():
            if name in batch.categorical:
                self._mark(name, table, batch.categorical[name], times)

    def evict(self) -> dict[str, Tensor]:
        """Take the rows of ids that were unused for too long, or are too many; returns their hashes by table.

        Done when a training has ended, and never in between: which rows are there in the meantime follows from
        the events alone.
        """
        evicted = {}
        for name, table in self._model.embedding_tables().items():
            rows = self._unused(name, table)
            self._optimizer.restart(table, rows)
            evicted[name] = table.evict(rows)
            self._last_seen[name].values[rows.numpy()] = NEVER
        return evicted

    def state(self) -> dict[str, Tensor]:
        """Tensors for ``optimizer.safetensors``: last use of every row ``[rows]``, waiting ids, newest times."""
        tensors = {_CLOCK: torch.tensor(list(self._clock), dtype=torch.float64)}
        for name, table in self._model.embedding_tables().items():
            tensors[_LAST_SEEN + name] = torch.from_numpy(self._last_seen[name].reserve(table.rows).copy())
            if len(self._waiting[name]):
                tensors[_WAITING + name] = self._waiting[name].state()
        return tensors

    def load(self, tensors: Mapping[str, Tensor], newest: float) -> None:
        """Go on from what `state` gave, for a model that holds the same rows.

        Rows of a bundle that does not tell when they were used count as used at its ``newest`` event time.

        Raises
        ------
        BadData
            If the times do not fit the rows.
        """
        self._clock.extend(tensors.get(_CLOCK, torch.zeros(0)).tolist())
        for name, table in self._model.embedding_tables().items():
            times = tensors.get(_LAST_SEEN + name, _unknown(table, newest))
            if len(times) != table.rows:
                raise BadData(f"the parent's times of last use do not fit table {name}; run a Full update")
            self._last_seen[name] = _Times.of(times)
            table.oov_is_learned = bool(times[0] > NEVER)
            if _WAITING + name in tensors:
                self._waiting[name].load(tensors[_WAITING + name])

    def _count(self, batch: FeatureBatch, new: int) -> None:
        for name, table in self._model.embedding_tables().items():
            if name in batch.categorical:
                ids = batch.categorical[name][:new]
                self._waiting[name].add(ids[table.rows_of(ids).cpu() == 0].tolist())

    def _admitted(self, name: str, ids: Tensor) -> Tensor:
        if self._admission.count == 1 or name not in self._waiting:
            return ids
        waiting = self._waiting[name]
        often = [each for each in np.unique(ids.numpy()).tolist() if waiting.seen(each) >= self._admission.count]
        waiting.remove(often)
        return torch.tensor(often, dtype=torch.int64)

    def _mark(self, name: str, table: ExpandableEmbedding, ids: Tensor, times: Tensor) -> None:
        rows = table.rows_of(ids).cpu().numpy()
        table.oov_is_learned = table.oov_is_learned or bool((rows == 0).any())
        np.maximum.at(self._last_seen[name].reserve(table.rows), rows, times.numpy())

    def _unused(self, name: str, table: ExpandableEmbedding) -> Tensor:
        """The rows to evict, ascending; of equally old ones those of the lowest rows."""
        rows = table.id_rows.numpy()
        times = self._last_seen[name].values[rows]
        gone = np.zeros(len(rows), dtype=np.bool_)
        if self._eviction.unused_for is not None and self._clock:
            gone |= times < statistics.median(self._clock) - self._eviction.unused_for
        if self._eviction.max_rows is not None:
            gone[np.argsort(times, kind="stable")[: max(0, len(rows) - self._eviction.max_rows)]] = True
        return torch.from_numpy(rows[gone])


class _Times:
    """A time per row, in an array that grows as the table does."""

    def __init__(self, rows: int) -> None:
        self.values: NDArray[np.float64] = np.full(rows, NEVER)

    @classmethod
    def of(cls, times: Tensor) -> _Times:
        found = cls(0)
        found.values = times.double().numpy().copy()
        return found

    def reserve(self, rows: int) -> NDArray[np.float64]:
        """The times of the first ``rows`` rows, to be written in place."""
        if rows > len(self.values):
            grown = np.full(max(rows, 2 * len(self.values)), NEVER)
            grown[: len(self.values)] = self.values
            self.values = grown
        return self.values[:rows]


def _unknown(table: ExpandableEmbedding, newest: float) -> Tensor:
    times = torch.full((table.rows,), NEVER, dtype=torch.float64)
    times[table.id_rows] = newest
    return times
