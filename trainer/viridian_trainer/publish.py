"""Appending events to an event log: Redis Streams or Parquet segments, the partition chosen by the user."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from itertools import batched
from pathlib import Path
from typing import Any, cast

from viridian_model.ids import id_hash
from viridian_trainer.eventlog.parquet import write_segment
from viridian_trainer.eventlog.redis_stream import FIELD, RedisSource, reachable

SEGMENT_ROWS = 10_000
_PIPELINE = 500

#: Told how many events were appended since the last call.
Advance = Callable[[int], None]


def partition_of(user: str, partitions: int) -> str:
    """The partition of all events of ``user``."""
    return str(id_hash(user) % partitions)


def to_redis(source: RedisSource, rows: Iterable[Mapping[str, Any]], rate: float | None, advance: Advance) -> None:
    """Append ``rows`` in their order, at ``rate`` events per second or as fast as Redis takes them.

    Raises
    ------
    LogUnreachable
        If Redis does not answer; events sent before stay.
    """
    size = _PIPELINE if rate is None else max(1, min(_PIPELINE, int(rate / 20)))
    begun, sent = time.monotonic(), 0
    with reachable(source), source.connect() as client:
        for portion in batched(rows, size):
            if rate is not None:
                time.sleep(max(0.0, begun + sent / rate - time.monotonic()))
            with client.pipeline(transaction=False) as pipeline:
                for row in portion:
                    key = f"{source.stream}:{partition_of(row['user'], source.partitions)}"
                    pipeline.xadd(key, cast("Any", {FIELD: json.dumps(row, separators=(",", ":"))}))
                pipeline.execute()
            sent += len(portion)
            advance(len(portion))


def to_parquet(directory: Path, partitions: int, rows: Iterable[Mapping[str, Any]], advance: Advance) -> None:
    """Append ``rows`` in their order, in segments of at most 10,000 rows a partition."""
    waiting: dict[str, list[Mapping[str, Any]]] = {str(number): [] for number in range(partitions)}
    for row in rows:
        partition = partition_of(row["user"], partitions)
        waiting[partition].append(row)
        if len(waiting[partition]) >= SEGMENT_ROWS:
            write_segment(directory, partition, waiting[partition])
            waiting[partition] = []
        advance(1)
    for partition, rest in waiting.items():
        if rest:
            write_segment(directory, partition, rest)
