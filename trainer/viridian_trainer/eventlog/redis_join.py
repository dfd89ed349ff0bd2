"""The joiner over Redis Streams. Each round is one transaction: events, state and positions together.

Partition ``p`` of the impressions is joined with partition ``p`` of the labels into partition ``p`` of the
events; producers choose the partition by the user in both. A joiner that is killed goes on from its last
transaction, so that every impression becomes exactly one event. One that its producer delivers again after
it was decided becomes a second event of the same id, which training leaves out.

What it remembers of partition ``p`` is in ``<stream>:join:p`` (positions, counts, and the number of the round, by
which a second joiner is found), and in the hashes ``…:pending`` and ``…:early``, of which a round writes what changed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

from redis.exceptions import WatchError

from viridian_trainer.errors import BadConfig
from viridian_trainer.eventlog.join import JoinState, LabelJoin, Noted, Row
from viridian_trainer.eventlog.log import Record
from viridian_trainer.eventlog.offset import Offset, count_before
from viridian_trainer.eventlog.redis_stream import FIELD, RedisEventLog, RedisSource, reachable
from viridian_trainer.eventlog.schema import Unreadable, decode

ROUND = 5000


@dataclass
class _Memory:
    """What is known of a partition, and the ``head`` in Redis that it belongs to."""

    impressions: Offset
    labels: Offset
    state: JoinState = field(default_factory=JoinState)
    round: int = 0
    head: bytes | None = None

    def wire(self) -> bytes:
        """What the next head holds."""
        value = {
            "round": self.round + 1,
            "impressions": self.impressions,
            "labels": self.labels,
            "state": self.state.wire(),
        }
        return json.dumps(value, separators=(",", ":")).encode()


class RedisLabelJoin:
    """Joins ``impressions`` and ``labels`` into the streams of ``source``, three prefixes of streams of one Redis."""

    def __init__(
        self,
        source: RedisSource,
        impressions: str,
        labels: str,
        horizon: float,
        fields: Mapping[str, str],
        clock: Callable[[], float] | None = None,
    ) -> None:
        """``clock`` tells the time of the log in seconds; else it is that of the Redis server."""
        self._source, self._horizon, self._fields = source, horizon, fields
        self._redis = source.connect()
        self._clock = clock or self._server_time
        self._known: dict[str, _Memory] = {}
        self._shown = RedisEventLog(replace(source, stream=impressions), self._redis)
        self._labels = RedisEventLog(replace(source, stream=labels), self._redis)

    def round(self, partition: str) -> dict[str, int]:
        """Read what was appended, at most 5000 impressions, and append what is decided; gives counts so far.

        The time is asked first and the head of the labels last: a label that was appended in time is never overtaken
        by the end of its horizon. Rows that cannot be read go to the dead letters of their stream.

        Raises
        ------
        DataTrimmed
            If a stream lost entries that were not read yet.
        LogUnreachable
            If Redis does not answer; the next round begins from what is stored.
        BadConfig
            If another joiner works on the same partition.
        """
        memory = self._known.pop(partition, None) or self._load(partition)
        before = memory.wire()
        now = self._clock()
        shown_head = self._shown.heads()[partition]
        label_head = self._labels.heads()[partition]
        join, events = LabelJoin(memory.state, self._horizon, self._fields, now), list[Row]()
        for record in self._labels.records(partition, memory.labels, label_head):
            events += self._taken(join.label, record, self._labels, memory.state)
        memory.labels = label_head
        for read, record in enumerate(self._shown.records(partition, memory.impressions, shown_head)):
            if read == ROUND:
                break
            events += self._taken(join.impression, record, self._shown, memory.state)
            memory.impressions = record.offset_after
        events += join.expire(all_read=count_before(memory.impressions) == count_before(shown_head))
        if memory.wire() != before:
            self._commit(partition, events, memory)
        self._known[partition] = memory
        return {**memory.state.counts, "pending": len(memory.state.pending), "early": len(memory.state.early)}

    def _server_time(self) -> float:
        with reachable(self._source):
            seconds, microseconds = cast("tuple[int, int]", self._redis.time())
        return seconds + microseconds / 1e6

    def _taken(
        self, take: Callable[[Row], Row | None], record: Record, log: RedisEventLog, state: JoinState
    ) -> Iterator[Row]:
        """The event that an entry completes."""
        try:
            event = take(decode(record.payload))
        except Unreadable as problem:
            state.count("rejected")
            log.reject(record, str(problem))
            return
        if event is not None:
            yield event

    def _load(self, partition: str) -> _Memory:
        key = self._key(partition)
        with reachable(self._source), self._redis.pipeline(transaction=True) as asked:
            asked.get(key).hgetall(f"{key}:pending").hgetall(f"{key}:early")
            head, pending, early = asked.execute()
        if head is None:
            return _Memory(self._shown.earliest()[partition], self._labels.earliest()[partition])
        value = json.loads(head)
        state = JoinState(_rows(pending), _rows(early), **value["state"])
        return _Memory(value["impressions"], value["labels"], state, value["round"], head)

    def _commit(self, partition: str, events: list[Row], memory: _Memory) -> None:
        """Append and remember in one transaction of Redis, unless another joiner was faster."""
        key, head = self._key(partition), memory.wire()
        refused = BadConfig(f"another joiner works on partition {partition} of {self._source.stream}; stop it")
        with reachable(self._source), self._redis.pipeline(transaction=True) as transaction:
            transaction.watch(key)
            if transaction.get(key) != memory.head:
                raise refused
            transaction.multi()
            for event in events:
                entry: Any = {FIELD: _json(event)}
                transaction.xadd(f"{self._source.stream}:{partition}", entry)
            for name, rows in (("pending", memory.state.pending), ("early", memory.state.early)):
                _write(transaction, f"{key}:{name}", rows)
            transaction.set(key, head)
            try:
                transaction.execute()
            except WatchError:
                raise refused from None
        memory.head, memory.round = head, memory.round + 1

    def _key(self, partition: str) -> str:
        return f"{self._source.stream}:join:{partition}"


def _rows(stored: Mapping[bytes, bytes]) -> Noted:
    return Noted({identity.decode(): json.loads(value) for identity, value in stored.items()})


def _write(transaction: Any, key: str, rows: Noted) -> None:
    """Bring a hash up to date with what was noted."""
    changed = {identity: _json(rows[identity]) for identity in rows.touched if identity in rows}
    if changed:
        transaction.hset(key, mapping=changed)
    if gone := [identity for identity in rows.touched if identity not in rows]:
        transaction.hdel(key, *gone)
    rows.settle()


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
