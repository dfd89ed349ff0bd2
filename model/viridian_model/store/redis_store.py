"""A store in Redis 7 or newer.

A blob is a list of pieces, of which a reader can have some; it is built under a name of its own and renamed. A
record is a string, changed by a script. Redis answers before a replica or the disk has what was written: use
``appendonly yes``, and expect that a fail-over can lose the last moments. Readers then stay where they are until the
head has passed them, and a writer finds that its head is gone.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis

from viridian_model.store.keys import checked
from viridian_model.store.protocol import Absent, Conflict, StoreRefused, StoreUnavailable, Versioned

PIECE = 4 << 20
"""Reading a few rows of a large file copies one piece within Redis, in which nothing else is answered meanwhile."""
_PREFIX = "viridian:"
_UNFINISHED_SECONDS = 3600
_LONGEST_WAIT = 1.0
"""Seconds without looking at the record itself: a message may be lost with a connection."""

_COMPARE_AND_SET = """
local now = redis.call('GET', KEYS[1])
if now ~= (ARGV[1] == '1' and ARGV[2]) then return 0 end
redis.call('SET', KEYS[1], ARGV[3])
redis.call('PUBLISH', KEYS[1], '')
return 1
"""

_GET_RANGE = """
local piece = redis.call('LINDEX', KEYS[1], ARGV[1])
return piece and string.sub(piece, ARGV[2] + 1, ARGV[3])
"""


class RedisStore:
    """Keys get the prefix ``viridian:``."""

    def __init__(self, client: redis.Redis) -> None:
        """``client`` answers with bytes and has time limits; it is closed with the store."""
        self._client = client
        self._get_range = client.register_script(_GET_RANGE)

    def get(self, key: str) -> bytes:
        """See `Store.get`."""
        with _told(f"reading {key}"):
            pieces: Any = self._client.lrange(_name(key), 0, -1)
        if not pieces:
            raise Absent(f"{key} is not in the store")
        return b"".join(pieces)

    def get_range(self, key: str, start: int, size: int) -> bytes:
        """See `Store.get_range`."""
        parts: list[bytes] = []
        with _told(f"reading {key}"):
            for piece in range(start // PIECE, (start + max(size, 1) - 1) // PIECE + 1):
                offset = piece * PIECE
                cut = [max(start - offset, 0), min(start + size - offset, PIECE)]
                found: Any = self._get_range(keys=[_name(key)], args=[piece, *cut])
                if found is None:
                    break
                parts.append(found)
            if not parts and not self._client.exists(_name(key)):
                raise Absent(f"{key} is not in the store")
        return b"".join(parts)

    def put_new(self, key: str, data: bytes) -> bool:
        """See `Store.put_new`."""
        final, unfinished = _name(key), f"viridian-unfinished:{uuid.uuid4().hex}"
        with _told(f"writing {key}"):
            if self._client.exists(final):
                return False
            for start in range(0, max(1, len(data)), PIECE):
                self._client.rpush(unfinished, data[start : start + PIECE])
                self._client.expire(unfinished, _UNFINISHED_SECONDS)
            with self._client.pipeline() as pipeline:
                pipeline.persist(unfinished).renamenx(unfinished, final).delete(unfinished)
                return bool(pipeline.execute()[1])

    def keys(self, prefix: str) -> Iterator[str]:
        """See `Store.keys`."""
        start = _name(prefix) + "/"
        with _told(f"listing {prefix}"):
            for name in self._client.scan_iter(match=start + "*", count=1000, _type="list"):
                yield name.decode().removeprefix(_PREFIX)

    def delete(self, key: str) -> None:
        """See `Store.delete`."""
        with _told(f"removing {key}"):
            self._client.unlink(_name(key))

    def record(self, key: str) -> RedisRecord:
        """See `Store.record`."""
        return RedisRecord(self._client, _name(key))

    def tidy(self) -> None:
        """Unfinished blobs expire by themselves."""

    def close(self) -> None:
        """See `Store.close`."""
        self._client.close()


class RedisRecord:
    """The version of a value is the value itself."""

    def __init__(self, client: redis.Redis, name: str) -> None:
        self._client, self._name = client, name
        self._set = client.register_script(_COMPARE_AND_SET)
        self._listening = threading.local()

    def read(self) -> Versioned | None:
        """See `Record.read`."""
        with _told(f"reading {self._name}"):
            data: Any = self._client.get(self._name)
        return None if data is None else Versioned(data, data.decode("latin-1"))

    def compare_and_set(self, version: str | None, data: bytes) -> str:
        """See `Record.compare_and_set`."""
        before = b"" if version is None else version.encode("latin-1")
        with _told(f"writing {self._name}"):
            done = self._set(keys=[self._name], args=[0 if version is None else 1, before, data])
        if not done:
            raise Conflict(f"{self._name} is not what was read")
        return data.decode("latin-1")

    def wait(self, version: str | None, timeout: float) -> bool:
        """See `Record.wait`; woken by a message of the writer."""
        deadline = time.monotonic() + timeout
        with _told(f"waiting for {self._name}"):
            messages = self._messages()
            while True:
                now = self.read()
                if (now and now.version) != version:
                    return True
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                messages.get_message(ignore_subscribe_messages=True, timeout=min(left, _LONGEST_WAIT))

    def _messages(self) -> Any:
        if not hasattr(self._listening, "messages"):
            messages = self._client.pubsub()
            messages.subscribe(self._name)
            messages.get_message(
                timeout=_LONGEST_WAIT
            )  # the answer to the subscription: from here on nothing is missed
            self._listening.messages = messages
        return self._listening.messages


def _name(key: str) -> str:
    return _PREFIX + checked(key)


@contextmanager
def _told(what: str) -> Iterator[None]:
    try:
        yield
    except (redis.AuthenticationError, redis.exceptions.NoPermissionError) as error:
        raise StoreRefused(f"{what} was refused: {error}") from None
    except (redis.ConnectionError, redis.TimeoutError) as error:
        raise StoreUnavailable(f"{what} failed: {error}") from None
    except redis.RedisError as error:
        raise StoreRefused(f"{what} failed: {error}") from None
