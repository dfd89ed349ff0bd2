"""Entries of Redis Streams between two offsets ``<n>@<id>``, and the split into training part and holdout."""

from __future__ import annotations

import json
import os
from typing import Any

import redis
from contract import Failure, Json

#: An offset behind an entry, and the event that it holds.
Entry = tuple[str, Json]


def read(data: Json, window: Json) -> dict[str, list[Entry]]:
    """All entries of a window by partition, exactly as many as its offsets promise."""
    source = data["source"].get("redisStream")
    if source is None:
        raise Failure(78, "BadConfig", "spec.data.source: this image reads redisStream only")
    user, password = (os.environ.get(f"VIRIDIAN_REDIS_{name}") or None for name in ("USERNAME", "PASSWORD"))
    client = redis.Redis.from_url(source["url"], username=user, password=password, socket_connect_timeout=5)
    try:
        return {
            partition: _entries(client, f"{source['stream']}:{partition}", begin, window["to"][partition])
            for partition, begin in window["from"].items()
        }
    except (redis.ConnectionError, redis.TimeoutError) as error:
        raise Failure(75, "LogUnreachable", f"Redis does not answer: {type(error).__name__}") from None


def split(
    entries: dict[str, list[Entry]], window: Json, fresh: Json | None, fraction: float
) -> tuple[list[Json], Json]:
    """The events to train on and ``trainedTo``: of every partition, the newest part of the fresh entries is held
    out. What the champion has seen may not judge.
    """
    chosen: list[Json] = []
    trained_to = {}
    for partition, found in entries.items():
        seen = number((fresh or window["from"])[partition]) - number(window["from"][partition])
        kept = len(found) - round(fraction * (len(found) - seen))
        chosen += [event for _, event in found[:kept]]
        trained_to[partition] = found[kept - 1][0] if kept else window["from"][partition]
    return sorted(chosen, key=lambda event: (event["ts"], event["id"])), trained_to


def number(offset: str) -> int:
    """How many entries stand before an offset."""
    return int(offset.partition("@")[0])


def _entries(client: redis.Redis, stream: str, begin: str, end: str) -> list[Entry]:
    position, wanted = number(begin), number(end) - number(begin)
    if wanted == 0:
        return []
    rows: Any = client.xrange(stream, min=f"({begin.partition('@')[2]}", max=end.partition("@")[2])
    if len(rows) != wanted:
        raise Failure(65, "DataTrimmed", f"stream {stream} holds {len(rows)} of {wanted} entries; keep events longer")
    try:
        return [(f"{position + n}@{key.decode()}", json.loads(row[b"event"])) for n, (key, row) in enumerate(rows, 1)]
    except (KeyError, ValueError) as error:
        raise Failure(65, "BadData", f"stream {stream} holds an entry without an event: {error}") from None
