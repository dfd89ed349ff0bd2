"""Events of the past, mixed into the new ones against forgetting, drawn by a recorded seed."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from viridian_model.features import FeatureBatch
from viridian_model.schema import Schema
from viridian_trainer.errors import DataTrimmed
from viridian_trainer.eventlog import EventLog, Offset, Window, count_before
from viridian_trainer.eventlog.log import RandomAccess, Record, passing
from viridian_trainer.eventlog.schema import Event, Unreadable, parse

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sample:
    """Replayed events in the order of use: features ``[n]``, labels float32 ``[n]``, times float64 ``[n]``, and
    how they were drawn.
    """

    features: FeatureBatch | None
    labels: Tensor
    times: Tensor
    record: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.labels)


def draw(
    log: EventLog,
    origin: Mapping[str, Offset],
    start: Mapping[str, Offset],
    wanted: int,
    seed: int,
    schema: Schema,
) -> Sample:
    """Draw ``wanted`` events uniformly without replacement from what is stored of ``[origin, start)``.

    History that was trimmed, or unreadable entries in it, give fewer events; ``record`` says how many and
    between which positions, so that the draw can be repeated. A log without random access is read once as a whole.
    """
    history = _available(log, origin, start)
    sizes = [history.count(partition) for partition in history.partitions]
    generator = np.random.default_rng(seed)
    ordinals = np.sort(generator.choice(sum(sizes), size=min(wanted, sum(sizes)), replace=False))
    events = list(_pick(log, history, ordinals, schema))
    order = torch.from_numpy(generator.permutation(len(events)))
    record = {
        "seed": seed,
        **history.wire(),
        "wanted": wanted,
        "events": len(events),
        "sha256": hashlib.sha256(ordinals.astype("<i8").tobytes()).hexdigest(),
    }
    if not events:
        return nothing(record)
    features, labels = encode(events, schema)
    times = torch.tensor([event.time for event in events], dtype=torch.float64)
    return Sample(features.take(order), labels[order], times[order], record)


def nothing(record: Mapping[str, Any]) -> Sample:
    """A sample without events."""
    return Sample(None, torch.zeros(0), torch.zeros(0, dtype=torch.float64), record)


def encode(events: list[Event], schema: Schema) -> tuple[FeatureBatch, Tensor]:
    """Features and labels (float32 ``[n]``) of ``events``."""
    labels = torch.tensor([event.label for event in events], dtype=torch.float32)
    return FeatureBatch.from_rows([event.features for event in events], schema), labels


def _available(log: EventLog, origin: Mapping[str, Offset], start: Mapping[str, Offset]) -> Window:
    """The part of ``[origin, start)`` that the log still holds."""
    earliest = log.earliest()
    first = {}
    for partition, end in start.items():
        begin = max((origin.get(partition, end), earliest.get(partition, end)), key=count_before)
        first[partition] = min((begin, end), key=count_before)
    return Window(first, dict(start))


def _pick(log: EventLog, history: Window, ordinals: NDArray[np.int64], schema: Schema) -> Iterator[Event]:
    """The readable events at ``ordinals``, which count through the partitions one after the other."""
    passed = 0
    for partition in history.partitions:
        size = history.count(partition)
        inside = ordinals[(ordinals >= passed) & (ordinals < passed + size)] - passed
        passed += size
        if len(inside):
            yield from _pick_in(log, history, partition, inside.tolist(), schema)


def _pick_in(log: EventLog, history: Window, partition: str, places: list[int], schema: Schema) -> Iterator[Event]:
    try:
        for record in _records_at(log, history, partition, places):
            with suppress(Unreadable):
                yield parse(record, schema)
    except DataTrimmed as missing:  # single entries may be deleted from history, for instance on a user's request
        _log.warning("history is incomplete: %s", missing.message)


def _records_at(log: EventLog, history: Window, partition: str, places: list[int]) -> Iterator[Record]:
    """The records of one partition at ascending ``places`` of ``history``."""
    start, end = history.start[partition], history.end[partition]
    if isinstance(log, RandomAccess):
        return log.at(partition, start, end, places)
    return passing(log, partition, start, end, places)
