"""Predictions of several models for the same events, in one pass over the holdout."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import batched
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from viridian_model.contract import RankingModel
from viridian_model.features import FeatureBatch
from viridian_model.ids import id_hash
from viridian_trainer.eventlog import Entry, Event
from viridian_trainer.eventlog.dedup import RecentIds
from viridian_trainer.gate.statistics import Floats, Ints

_CHUNK = 4096


@dataclass(frozen=True)
class Holdout:
    """The judged events, one position each: ids, hashes of users and items, labels, and fields as text by
    name.

    ``duplicates`` were trained on or seen before and are left out, as are ``rejected`` entries.
    """

    ids: list[str]
    times: Floats
    users: Ints
    items: Ints
    labels: Floats
    fields: Mapping[str, NDArray[np.str_]]
    duplicates: int
    rejected: int

    def __len__(self) -> int:
        return len(self.ids)


def joined(first: Holdout, second: Holdout) -> Holdout:
    """The events of ``first``, then those of ``second``; both have the same fields."""
    return Holdout(
        ids=first.ids + second.ids,
        times=np.concatenate([first.times, second.times]),
        users=np.concatenate([first.users, second.users]),
        items=np.concatenate([first.items, second.items]),
        labels=np.concatenate([first.labels, second.labels]),
        fields={name: np.concatenate([values, second.fields[name]]) for name, values in first.fields.items()},
        duplicates=first.duplicates + second.duplicates,
        rejected=first.rejected + second.rejected,
    )


@dataclass(frozen=True)
class Scores:
    """Answers of one model: logits ``[n]``, and per table whether the id of the event is unknown to it
    ``[n]``.
    """

    logits: Floats
    unknown: Mapping[str, NDArray[np.bool_]]

    def followed_by(self, others: Scores) -> Scores:
        """These answers, then those to ``others``' events."""
        names = {*self.unknown, *others.unknown}
        unknown = {
            name: np.concatenate([part.unknown[name] for part in (self, others) if name in part.unknown])
            for name in names
        }
        return Scores(np.concatenate([self.logits, others.logits]), unknown)


def score(
    entries: Iterable[Entry], trained_on: RecentIds, models: Mapping[str, RankingModel], fields: Iterable[str]
) -> tuple[Holdout, dict[str, Scores]]:
    """Predict every usable event of ``entries`` with every model (in evaluation mode).

    ``trained_on`` holds ids that the candidate was trained on: judging by them would flatter it.
    """
    filtered = _Filter(trained_on)
    columns = _Columns(tuple(fields))
    logits: dict[str, list[Any]] = {name: [] for name in models}
    unknown: dict[str, dict[str, list[Any]]] = {name: {} for name in models}
    for chunk in batched(filtered.usable(entries), _CHUNK):
        columns.add(chunk)
        for name, model in models.items():
            answered, missing = _answer(model, chunk)
            logits[name].append(answered)
            for table, flags in missing.items():
                unknown[name].setdefault(table, []).append(flags)
    scores = {
        name: Scores(_joined(logits[name]), {t: np.concatenate(parts) for t, parts in unknown[name].items()})
        for name in models
    }
    return columns.holdout(filtered), scores


def _answer(model: RankingModel, events: tuple[Event, ...]) -> tuple[Floats, dict[str, NDArray[np.bool_]]]:
    batch = FeatureBatch.from_rows([event.features for event in events], model.schema)
    with torch.inference_mode():
        logits = model(batch).double().cpu().numpy()
    unknown = {
        name: (table.rows_of(batch.categorical[name]) == 0).cpu().numpy()
        for name, table in model.embedding_tables().items()
        if name in batch.categorical
    }
    return logits, unknown


def _joined(parts: list[Any]) -> Floats:
    return np.concatenate(parts) if parts else np.zeros(0)


class _Filter:
    """Counts and leaves out what cannot be judged."""

    def __init__(self, seen: RecentIds) -> None:
        self._seen = seen
        self.duplicates = self.rejected = 0

    def usable(self, entries: Iterable[Entry]) -> Iterator[Event]:
        for entry in entries:
            if entry.event is None:
                self.rejected += 1
            elif not self._seen.add(entry.event.id):
                self.duplicates += 1
            else:
                yield entry.event


class _Columns:
    """Events by column."""

    def __init__(self, fields: tuple[str, ...]) -> None:
        self._rows: list[tuple[str, float, int, int, int]] = []
        self._fields: dict[str, list[str]] = {name: [] for name in fields}

    def add(self, events: tuple[Event, ...]) -> None:
        self._rows += [(e.id, e.time, id_hash(e.user), id_hash(e.item), e.label) for e in events]
        for name, values in self._fields.items():
            values += [str(event.features[name]) for event in events]

    def holdout(self, filtered: _Filter) -> Holdout:
        ids, times, users, items, labels = zip(*self._rows, strict=True) if self._rows else ((), (), (), (), ())
        return Holdout(
            ids=list(ids),
            times=np.array(times, dtype=np.float64),
            users=np.array(users, dtype=np.int64),
            items=np.array(items, dtype=np.int64),
            labels=np.array(labels, dtype=np.float64),
            fields={name: np.array(values, dtype=np.str_) for name, values in self._fields.items()},
            duplicates=filtered.duplicates,
            rejected=filtered.rejected,
        )
