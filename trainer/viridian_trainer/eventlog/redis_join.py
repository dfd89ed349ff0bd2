"""The joiner over Redis Streams. Each round is one transaction: events, state and positions together.

Partition ``p`` of the impressions is joined with partition ``p`` of the labels into partition ``p`` of the
events; producers choose the partition by the user in both. A joiner that is killed goes on from its last
transaction, so that every impression becomes exactly one event. One that its producer delivers again after
it was decided becomes a second event of the same id, which training leaves out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, cast

from redis.exceptions import WatchError

from viridian_trainer.errors import BadConfig
from viridian_trainer.eventlog.join import JoinState, LabelJoin, Row
from viridian_trainer.eventlog.log import Record
from viridian_trainer.eventlog.offset import Offset
from viridian_trainer.eventlog.redis_stream import FIELD, START, RedisEventLog, RedisSource, reachable

ROUND = 5000


class RedisLabelJoin:
    """Joins ``impressions`` and ``labels`` into ``events``, three prefixes of streams of one Redis."""

    def __init__(
        self, source: RedisSource, impressions: str, labels: str, horizon: float, fields: Mapping[str, str]
    ) -> None:
        self._source, self._horizon, self._fields = source, horizon, fields
        self._redis = source.connect()
        self._loaded: dict[str, bytes | None] = {}
        self._shown = RedisEventLog(replace(source, stream=impressions), self._redis)
        self._labels = RedisEventLog(replace(source, stream=labels), self._redis)

    def round(self, partition: str) -> dict[str, int]:
        """Read what was appended, at most 5000 impressions, and append what is decided; gives counts so far.

        Labels are read up to a head that is younger than that of the impressions: a label that was appended
        in time is never overtaken by the end of its horizon.

        Raises
        ------
        DataTrimmed
            If a stream lost entries that were not read yet.
        LogUnreachable
            If Redis does not answer.
        BadConfig
            If another joiner works on the same partition.
        """
        state, positions = self._load(partition)
        join = LabelJoin(state, self._horizon, self._fields)
        shown_head = self._shown.heads()[partition]
        label_head = self._labels.heads()[partition]
        events: list[Row] = []
        for record in self._labels.records(partition, positions["labels"], label_head):
            events += self._taken(join.label, record, state)
        positions["labels"] = label_head
        for read, record in enumerate(self._shown.records(partition, positions["impressions"], shown_head)):
            if read == ROUND:
                break
            events += self._taken(join.impression, record, state)
            positions["impressions"] = record.offset_after
        events += join.expire()
        self._commit(partition, events, state, positions)
        return state.counts

    def _taken(self, take: Any, record: Record, state: JoinState) -> Iterator[Row]:
        """The event that an entry completes; one that cannot be read is counted and left out."""
        try:
            row = json.loads(cast("bytes", record.payload))
            event = take(row)
        except (ValueError, KeyError, TypeError):
            state.counts["rejected"] = state.counts.get("rejected", 0) + 1
            return
        if event is not None:
            yield event

    def _load(self, partition: str) -> tuple[JoinState, dict[str, Offset]]:
        with reachable(self._source):
            saved = self._loaded[partition] = cast("bytes | None", self._redis.get(self._key(partition)))
        if saved is None:
            return JoinState(), {"impressions": START, "labels": START}
        value = json.loads(saved)
        return JoinState(**value["state"]), value["positions"]

    def _commit(self, partition: str, events: list[Row], state: JoinState, positions: Mapping[str, Offset]) -> None:
        """Append and remember in one transaction of Redis, unless another joiner was faster."""
        saved = json.dumps({"state": state.wire(), "positions": positions}, separators=(",", ":"))
        key = self._key(partition)
        with reachable(self._source), self._redis.pipeline(transaction=True) as transaction:
            transaction.watch(key)
            if transaction.get(key) != self._loaded[partition]:
                raise BadConfig(f"another joiner works on partition {partition} of {self._source.stream}; stop it")
            transaction.multi()
            for event in events:
                entry: Any = {FIELD: json.dumps(event, separators=(",", ":"))}
                transaction.xadd(f"{self._source.stream}:{partition}", entry)
            transaction.set(key, saved)
            try:
                transaction.execute()
            except WatchError:
                raise BadConfig(f"another joiner works on partition {partition}; stop it") from None

    def _key(self, partition: str) -> str:
        return f"{self._source.stream}:join:{partition}"
