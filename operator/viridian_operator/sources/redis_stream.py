"""Heads of an event log in Redis: partition ``p`` is the stream ``<stream>:<p>``.

An offset is ``<n>@<id>``: ``n`` entries were ever added before the position, the last of them under
``id``. See "Offsets and windows" in ``docs/reference/contracts.md``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from redis import exceptions
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline

from viridian_operator.sources.drift import DriftFindings, findings, findings_key
from viridian_operator.sources.errors import Invalid, SourceError, Unauthorized, Unavailable

START = "0@0-0"
TIMEOUT = 3.0
LARGEST_SEQUENCE = 2**64 - 1

_CHUNK = 10_000
#: number and oldest ID of at most ARGV[2] entries, from ARGV[1] backwards
_COUNT_BACK = """
local found = redis.call('XREVRANGE', KEYS[1], ARGV[1], '-', 'COUNT', ARGV[2])
if #found == 0 then return {0, ''} end
return {#found, found[#found][1]}
"""


@dataclass(frozen=True)
class StreamSource:
    """An event log; equal ones are read once for everybody who waits for them."""

    url: str
    stream: str
    partitions: int
    username: str | None = None
    password: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Heads:
    """The present ends of an event log.

    Attributes
    ----------
    offsets
        Position behind the newest entry, per partition.
    total
        Entries ever added to all partitions.
    earliest
        First position that is still readable, per partition.
    removed
        Entries that were added and are gone, per partition.
    """

    offsets: Mapping[str, str]
    total: int
    earliest: Mapping[str, str]
    removed: Mapping[str, int]


class RedisStreams:
    """A connection to the Redis server of one event log.

    Raises
    ------
    Invalid
        If the address is none of Redis.
    """

    def __init__(self, source: StreamSource) -> None:
        self._source = source
        credentials = {"username": source.username, "password": source.password}
        try:
            self._redis = Redis.from_url(
                source.url,
                **{key: value for key, value in credentials.items() if value},
                socket_timeout=TIMEOUT,
                socket_connect_timeout=TIMEOUT,
                single_connection_client=False,
                decode_responses=True,
            )
        except ValueError as error:
            raise Invalid("the source is not a Redis address; write for example redis://redis:6379/0") from error

    async def heads(self) -> Heads:
        """Read the state of every partition in one round trip.

        Raises
        ------
        SourceError
            One of its kinds. A stream that does not exist is empty, and no error.
        """
        pipeline: Pipeline = self._redis.pipeline(transaction=False)
        for partition in range(self._source.partitions):
            pipeline.xinfo_stream(f"{self._source.stream}:{partition}")
        try:
            answers = await pipeline.execute(raise_on_error=False)
        except (exceptions.RedisError, OSError, TimeoutError) as error:
            raise _typed(error) from error
        return _heads([_info(answer) for answer in answers])

    async def newest(self, heads: Heads, counts: Mapping[str, int]) -> Mapping[str, str]:
        """Positions before the newest ``counts`` entries of each partition, as they were at ``heads``.

        Streams know no entry by its number: the server counts back from the end, 10,000 entries per call, so that
        no other client waits for more than milliseconds, and only IDs are sent.

        Raises
        ------
        SourceError
            One of its kinds; ``Unauthorized`` also if the user may not call ``EVAL_RO``.
        """
        return {p: await self._before_newest(p, heads.offsets[p], count) for p, count in counts.items()}

    async def _before_newest(self, partition: str, head: str, count: int) -> str:
        number, _, entry_id = head.partition("@")
        key, left, first, last = f"{self._source.stream}:{partition}", count, "", entry_id
        while left > 0:
            try:
                answer = await cast("Any", self._redis.eval_ro(_COUNT_BACK, 1, key, last, str(min(left, _CHUNK))))
            except (exceptions.RedisError, OSError, TimeoutError) as error:
                raise _typed(error) from error
            found, first = int(answer[0]), str(answer[1])
            if not found:
                raise Invalid(f"stream {key} holds fewer entries than it counts: were some of them deleted?")
            left, last = left - found, _before(first)
        return f"{int(number) - count}@{_before(first)}" if count else head

    async def findings(self, keys: Sequence[str]) -> list[DriftFindings]:
        """What the drift monitors of these ModelUpdates wrote, in one round trip.

        Raises
        ------
        SourceError
            One of its kinds.
        """
        pipeline: Pipeline = self._redis.pipeline(transaction=False)
        for key in keys:
            pipeline.hgetall(findings_key(self._source.stream, key))
        try:
            answers = await pipeline.execute()
        except (exceptions.RedisError, OSError, TimeoutError) as error:
            raise _typed(error) from error
        return [findings(answer) for answer in answers]

    async def close(self) -> None:
        """Close the connection."""
        await self._redis.aclose()


def _info(answer: Any) -> Mapping[str, Any]:
    if isinstance(answer, Exception):
        if "no such key" in str(answer).lower():
            return {"entries-added": 0, "length": 0, "last-generated-id": "0-0"}
        raise _typed(answer) from answer
    if "entries-added" not in answer:
        raise Invalid("the Redis server is older than 7.0 and does not count entries; upgrade it")
    info: Mapping[str, Any] = answer
    return info


def _heads(infos: list[Mapping[str, Any]]) -> Heads:
    numbered = {str(number): info for number, info in enumerate(infos)}
    return Heads(
        offsets={p: f"{info['entries-added']}@{info['last-generated-id']}" for p, info in numbered.items()},
        total=sum(int(info["entries-added"]) for info in infos),
        earliest={p: _earliest(info) for p, info in numbered.items()},
        removed={p: int(info["entries-added"]) - int(info["length"]) for p, info in numbered.items()},
    )


def _earliest(info: Mapping[str, Any]) -> str:
    removed = int(info["entries-added"]) - int(info["length"])
    if removed == 0:
        return START
    first = info.get("first-entry")
    return f"{removed}@{_before(first[0]) if first else info['last-generated-id']}"


def _before(entry_id: str) -> str:
    """The greatest ID smaller than ``entry_id``: entries after it begin with ``entry_id``."""
    milliseconds, sequence = (int(part) for part in entry_id.split("-"))
    return f"{milliseconds}-{sequence - 1}" if sequence else f"{milliseconds - 1}-{LARGEST_SEQUENCE}"


def _typed(error: Exception) -> SourceError:
    text = str(error) or type(error).__name__
    if isinstance(error, exceptions.AuthenticationError | exceptions.NoPermissionError):
        return Unauthorized(f"Redis refuses the credentials: {text}")
    if isinstance(error, exceptions.ResponseError) and not isinstance(error, exceptions.BusyLoadingError):
        return Invalid(f"Redis says: {text}")
    return Unavailable(f"Redis does not answer: {text}")
