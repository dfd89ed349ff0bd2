"""Event log in Redis Streams: partition ``p`` is the stream ``<stream>:p``.

An offset is ``<n>@<id>``: ``n`` is the value of ``entries-added`` (Redis ≥ 7) at that position, so that the
number of entries of a window is known exactly and trimming cannot go unnoticed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import redis

from viridian_trainer.errors import BadConfig, DataTrimmed, LogUnreachable
from viridian_trainer.eventlog.log import Record, passing
from viridian_trainer.eventlog.offset import Offset, count_before
from viridian_trainer.eventlog.redis_index import Misfit, StreamIndex, Stretch, rounds
from viridian_trainer.result import without_credentials

CHUNK = 2000
DEAD_LETTERS = 100_000
FIELD = b"event"
START: Offset = "0@0-0"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RedisSource:
    """Where the streams are."""

    url: str
    stream: str
    partitions: int = 1
    username: str | None = None
    password: str | None = None

    def connect(self) -> redis.Redis:
        """A synchronous client that answers in bytes.

        Raises
        ------
        BadConfig
            If the address is none of Redis.
        """
        try:
            return redis.Redis.from_url(
                self.url,
                username=self.username,
                password=self.password,
                socket_timeout=30,
                socket_connect_timeout=5,
                health_check_interval=30,
            )
        except ValueError as error:
            raise BadConfig("data.source.redisStream.url is not a Redis address; write redis://host:6379/0") from error


@contextmanager
def reachable(source: RedisSource) -> Iterator[None]:
    """Turn failures of the connection into ``LogUnreachable`` or ``BadConfig``."""
    try:
        yield
    except redis.AuthenticationError as error:
        raise BadConfig("Redis refuses the credentials of data.source.redisStream") from error
    except (redis.ConnectionError, redis.TimeoutError, redis.exceptions.BusyLoadingError) as error:
        raise LogUnreachable(f"Redis at {without_credentials(source.url)} does not answer: {error}") from error
    except redis.ResponseError as error:
        raise BadConfig(f"Redis refuses to read stream {source.stream}: {error}") from error


class RedisEventLog:
    """``EventLog`` over Redis Streams."""

    def __init__(self, source: RedisSource, client: redis.Redis | None = None) -> None:
        self._source = source
        self._redis = client or source.connect()

    def heads(self) -> dict[str, Offset]:
        """See ``EventLog``; a stream that does not exist yet is empty."""
        return {partition: self._head(info) for partition, info in self._infos()}

    def earliest(self) -> dict[str, Offset]:
        """See ``EventLog``; the ID is that of the position's predecessor, which no longer exists."""
        return {partition: _earliest(info) for partition, info in self._infos()}

    def records(self, partition: str, start: Offset, end: Offset) -> Iterator[Record]:
        """See ``EventLog``; reads chunks of 2000 entries with XRANGE."""
        number, end_number = count_before(start), count_before(end)
        if number == end_number:
            return
        position, last = _entry_id(start), _entry_id(end)
        while chunk := self._chunk(partition, position, last):
            for entry_id, fields in chunk:
                number += 1
                if number > end_number:
                    raise self._trimmed(partition, start, end, "more")
                position = entry_id.decode()
                yield Record(partition, number - 1, f"{number}@{position}", fields.get(FIELD, b""))
        if number != end_number:
            raise self._trimmed(partition, start, end, f"only {number - count_before(start)}")

    def at(self, partition: str, start: Offset, end: Offset, places: Sequence[int]) -> Iterator[Record]:
        """See ``RandomAccess``; reads 16 entries for one, by the index, which it completes.

        Where the index cannot be kept or does not fit, everything between the two positions is read.
        """
        wanted = [count_before(start) + place for place in places]
        try:
            with reachable(self._source):
                found = self._indexed(partition, start, end, wanted)
        except (BadConfig, DataTrimmed, Misfit) as why:
            _log.warning("stream %s is read as a whole, not by its index: %s", self._key(partition), why)
            yield from passing(self, partition, start, end, places)
            return
        yield from found
        if len(found) < len(wanted):
            raise self._trimmed(partition, start, end, f"not {len(wanted) - len(found)}")

    @property
    def dead_letters(self) -> str:
        """See ``EventLog``."""
        return f"stream {self._dead}"

    @property
    def _dead(self) -> str:
        return f"{self._source.stream}:dead"

    def wait(self, after: Mapping[str, Offset], timeout: float) -> bool:
        """See ``EventLog``; one blocking XREAD over all streams."""
        positions: Any = {self._key(partition): _entry_id(offset) for partition, offset in after.items()}
        milliseconds = max(1, int(timeout * 1000))
        with reachable(self._source):
            return bool(self._redis.xread(positions, count=1, block=milliseconds))

    def reject(self, record: Record, reason: str) -> None:
        """Append the entry to the stream ``<stream>:dead``, once however often the window is read.

        Partitions are read in ascending order, so that the greatest number kept is enough to know what is
        there.
        """
        dead, marks = self._dead, f"{self._dead}:marks"
        payload = record.payload if isinstance(record.payload, bytes) else repr(record.payload).encode()
        entry = {
            "event": payload,
            "reason": reason,
            "partition": record.partition,
            "offset": record.offset_after,
        }
        try:
            with reachable(self._source):
                mark = cast("bytes | None", self._redis.hget(marks, record.partition))
                if mark is not None and int(mark) >= record.number:
                    return
                with self._redis.pipeline(transaction=True) as both:
                    both.xadd(dead, cast("Any", entry), maxlen=DEAD_LETTERS, approximate=True)
                    both.hset(marks, record.partition, str(record.number))
                    both.execute()
        except BadConfig as error:  # A reader without write permission still trains.
            _log.warning("cannot keep an unreadable entry: %s", error.message)

    def _indexed(self, partition: str, start: Offset, end: Offset, wanted: Sequence[int]) -> list[Record]:
        """The entries with these numbers, without those that were trimmed.

        Raises
        ------
        Misfit
            If the index does not fit the stream; it was removed.
        DataTrimmed
            If the stream has lost entries that are not in the index yet.
        """
        index = StreamIndex(self._redis, f"{self._source.stream}:index:{partition}")
        earliest = _earliest(self._info(partition))
        index.trim(count_before(earliest))
        first = max((start, earliest), key=count_before)
        wanted = [number for number in wanted if number >= count_before(first)]
        if not wanted:
            return []
        unread = index.resume(first, end)
        index.add(record.offset_after for record in self.records(partition, unread, end))
        found: list[Record] = []
        lost: list[Stretch] = []
        for groups in rounds(wanted, CHUNK):
            stretches = index.around(first, end, groups)
            for stretch, entries in zip(stretches, self._chunks(partition, stretches), strict=True):
                if len(entries) == stretch.size:
                    found += _picked(partition, stretch, entries)
                else:
                    lost.append(stretch)
        if lost and count_before(lost[-1].start) >= count_before(_earliest(self._info(partition))):
            index.forget()
            raise Misfit(f"entries are missing between {lost[-1].start} and {lost[-1].end}")
        return found

    def _infos(self) -> Iterator[tuple[str, dict[str, Any]]]:
        for number in range(self._source.partitions):
            yield str(number), self._info(str(number))

    def _info(self, partition: str) -> dict[str, Any]:
        with reachable(self._source):
            try:
                info = cast("dict[str, Any]", self._redis.xinfo_stream(self._key(partition)))
            except redis.ResponseError as error:
                if "no such key" not in str(error).lower():
                    raise
                return {"entries-added": 0, "length": 0, "last-generated-id": b"0-0"}
        if "entries-added" not in info:
            raise BadConfig("the Redis server is older than 7.0 and does not count entries; upgrade it")
        return info

    def _head(self, info: dict[str, Any]) -> Offset:
        return f"{info['entries-added']}@{_text(info['last-generated-id'])}"

    def _chunk(self, partition: str, after: str, last: str) -> list[tuple[bytes, dict[bytes, bytes]]]:
        with reachable(self._source):
            found = self._redis.xrange(self._key(partition), min=f"({after}", max=last, count=CHUNK)
        return cast("list[tuple[bytes, dict[bytes, bytes]]]", found)

    def _chunks(self, partition: str, stretches: Sequence[Stretch]) -> list[list[tuple[bytes, dict[bytes, bytes]]]]:
        """The entries of each stretch, and one more if there are more than its size."""
        with self._redis.pipeline(transaction=False) as asked:
            for stretch in stretches:
                after, last = _entry_id(stretch.start), _entry_id(stretch.end)
                asked.xrange(self._key(partition), min=f"({after}", max=last, count=stretch.size + 1)
            return cast("list[list[tuple[bytes, dict[bytes, bytes]]]]", asked.execute())

    def _key(self, partition: str) -> str:
        return f"{self._source.stream}:{partition}"

    def _trimmed(self, partition: str, start: Offset, end: Offset, found: str) -> DataTrimmed:
        return DataTrimmed(
            f"stream {self._key(partition)} holds {found} of the entries {start} to {end}: it was trimmed or replaced; "
            "keep events longer, or request skip-window"
        )


def _picked(partition: str, stretch: Stretch, entries: Sequence[tuple[bytes, dict[bytes, bytes]]]) -> Iterator[Record]:
    """The wanted ones of all ``entries`` of a stretch."""
    first = count_before(stretch.start)
    for number in stretch.numbers:
        entry_id, fields = entries[number - first]
        yield Record(partition, number, f"{number + 1}@{entry_id.decode()}", fields.get(FIELD, b""))


def _earliest(info: dict[str, Any]) -> Offset:
    removed = info["entries-added"] - info["length"]
    if removed == 0:
        return START
    first = info.get("first-entry")
    before = _before(_text(first[0])) if first else _text(info["last-generated-id"])
    return f"{removed}@{before}"


def _before(entry_id: str) -> str:
    """The greatest ID smaller than ``entry_id``."""
    milliseconds, sequence = (int(part) for part in entry_id.split("-"))
    return f"{milliseconds}-{sequence - 1}" if sequence else f"{milliseconds - 1}-{2**64 - 1}"


def _entry_id(offset: Offset) -> str:
    entry_id = offset.partition("@")[2]
    if not entry_id:
        raise BadConfig(f"offset {offset} names no entry; offsets of Redis streams look like 12@1700000000000-0")
    return entry_id


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
