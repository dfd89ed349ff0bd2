"""Heads of event logs, polled once per log however many wait for it, and only while somebody does."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from viridian_operator.sources.drift import DriftFindings
from viridian_operator.sources.errors import SourceError, Unavailable
from viridian_operator.sources.redis_stream import Heads, RedisStreams, StreamSource

log = logging.getLogger(__name__)

#: Polls are put off by at most so many intervals after failures.
LONGEST_BACKOFF = 12
#: Seconds for counting entries, which happens once in the life of a ModelUpdate.
COUNTING = 20.0


class HeadsReader(Protocol):
    """A connection to one event log."""

    async def heads(self) -> Heads:
        """Read the heads, or raise ``SourceError``."""
        ...

    async def newest(self, heads: Heads, counts: Mapping[str, int]) -> Mapping[str, str]:
        """Positions before the newest ``counts`` entries at ``heads``, or raise ``SourceError``."""
        ...

    async def findings(self, keys: Sequence[str]) -> list[DriftFindings]:
        """What the drift monitors of these ModelUpdates found, or raise ``SourceError``."""
        ...

    async def close(self) -> None:
        """Close the connection."""


@dataclass(frozen=True)
class DriftWatch:
    """Whose monitor is watched, and how many of its detections are known."""

    uid: str
    known: int


@dataclass(frozen=True)
class Reading:
    """The last answer of a log, kept over later failures.

    Attributes
    ----------
    heads
        None if there was never an answer.
    age
        Seconds since ``heads`` were read.
    error
        Why the newest try failed; empty if it did not.
    """

    heads: Heads | None
    age: float
    error: str


@dataclass
class _Log[K: Hashable]:
    """What is known of one source; the lock makes simultaneous reads one."""

    reader: HeadsReader | None = None
    waiting: dict[K, int] = field(default_factory=dict)
    drifts: dict[K, DriftWatch] = field(default_factory=dict)
    heads: Heads | None = None
    read_at: float = 0.0
    error: str = ""
    failures: int = 0
    next_at: float = 0.0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def watched(self) -> bool:
        """Whether somebody waits for news of it."""
        return bool(self.waiting or self.drifts)

    def forget(self, key: K) -> None:
        """``key`` waits for nothing here."""
        self.waiting.pop(key, None)
        self.drifts.pop(key, None)


class HeadsPoller[K: Hashable]:
    """Wakes those who wait for a log to grow, or for drift to be found in it.

    Parameters
    ----------
    notify
        Called with the key when there is what it waits for; it then waits no more.
    interval
        Seconds between polls of a log.
    connect
        Makes the connection to a source.
    """

    def __init__(
        self,
        notify: Callable[[K], None],
        *,
        interval: float = 5.0,
        connect: Callable[[StreamSource], HeadsReader] = RedisStreams,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._notify, self._interval, self._connect, self._clock = notify, interval, connect, clock
        self._logs: dict[StreamSource, _Log[K]] = {}
        self._changed = asyncio.Event()

    def watch(
        self, key: K, source: StreamSource, total_threshold: int | None = None, drift: DriftWatch | None = None
    ) -> None:
        """Call back ``key`` once ``source`` holds at least so many entries, or its drift monitor has found something
        that is not known; replaces what it waited for.
        """
        self.unwatch(key)
        entry = self._logs.setdefault(source, _Log[K]())
        if total_threshold is not None:
            entry.waiting[key] = total_threshold
        if drift is not None:
            entry.drifts[key] = drift
        self._changed.set()

    def unwatch(self, key: K) -> None:
        """``key`` waits for nothing any more."""
        for entry in self._logs.values():
            entry.forget(key)

    def latest(self, source: StreamSource) -> Reading:
        """What was read last, without reading."""
        entry = self._logs.get(source) or _Log[K]()
        age = self._clock() - entry.read_at if entry.heads else float("inf")
        return Reading(entry.heads, age, entry.error)

    async def read(self, source: StreamSource, *, max_age: float) -> Reading:
        """Heads that are at most ``max_age`` seconds old, or older ones with the error that keeps us from it.

        After a failure nothing is asked until the next poll is due, so that callers need not wait for it.
        """
        entry = self._logs.setdefault(source, _Log[K]())
        asked = self._clock()
        async with entry.lock:
            # While we waited for the lock somebody else may have read for us, or failed.
            fresh = entry.heads is not None and not entry.error and entry.read_at >= asked - max_age
            backing_off = bool(entry.error) and entry.next_at > self._clock()
            if not fresh and not backing_off:
                await self._read(source, entry)
        self._changed.set()
        return self.latest(source)

    async def newest(self, source: StreamSource, heads: Heads, counts: Mapping[str, int]) -> Mapping[str, str]:
        """Positions before the newest ``counts`` entries of each partition.

        Raises
        ------
        SourceError
            If they cannot be told within ``COUNTING`` seconds.
        """
        entry = self._logs.setdefault(source, _Log[K]())
        async with entry.lock:
            if entry.reader is None:
                entry.reader = self._connect(source)
            try:
                async with asyncio.timeout(COUNTING):
                    return await entry.reader.newest(heads, counts)
            except TimeoutError as error:
                raise Unavailable(f"the entries could not be counted within {COUNTING:g} s: lower maxEvents") from error

    async def findings(self, source: StreamSource, uid: str) -> DriftFindings:
        """What the drift monitor of a ModelUpdate found, read now.

        Raises
        ------
        SourceError
            If it cannot be told.
        """
        entry = self._logs.setdefault(source, _Log[K]())
        async with entry.lock:
            (found,) = await self._findings(source, entry, [uid])
            return found

    async def _findings(self, source: StreamSource, entry: _Log[K], uids: Sequence[str]) -> list[DriftFindings]:
        if entry.reader is None:
            entry.reader = self._connect(source)
        try:
            async with asyncio.timeout(self._interval):
                return await entry.reader.findings(uids)
        except TimeoutError as error:
            raise Unavailable("no answer") from error

    async def run(self) -> None:
        """Poll until cancelled."""
        try:
            while True:
                self._changed.clear()
                await self._forget_unwatched()
                due = [source for source, entry in self._logs.items() if entry.next_at <= self._clock()]
                await asyncio.gather(*(self._poll(source) for source in due))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._pause()):
                        await self._changed.wait()
        finally:
            for entry in self._logs.values():
                if entry.reader is not None:
                    await entry.reader.close()

    def _pause(self) -> float | None:
        """Seconds to the next poll; None while nobody waits."""
        times = [entry.next_at for entry in self._logs.values() if entry.watched]
        return max(0.0, min(times) - self._clock()) if times else None

    async def _poll(self, source: StreamSource) -> None:
        entry = self._logs.get(source)
        if entry is None or not entry.watched:
            return
        async with entry.lock:
            if entry.next_at <= self._clock():
                await self._read(source, entry)
                await self._look_for_drift(source, entry)

    async def _look_for_drift(self, source: StreamSource, entry: _Log[K]) -> None:
        watches = dict(entry.drifts)
        if not watches or entry.error:
            return
        try:
            found = await self._findings(source, entry, [watch.uid for watch in watches.values()])
        except SourceError as error:
            self._failed(source, entry, error)
            return
        for (key, watch), each in zip(watches.items(), found, strict=True):
            if each.number != watch.known and entry.drifts.get(key) is watch:
                entry.forget(key)
                self._notify(key)

    async def _read(self, source: StreamSource, entry: _Log[K]) -> None:
        try:
            if entry.reader is None:
                entry.reader = self._connect(source)
            async with asyncio.timeout(self._interval):
                entry.heads = await entry.reader.heads()
        except (SourceError, TimeoutError) as error:
            self._failed(source, entry, error if isinstance(error, SourceError) else Unavailable("no answer"))
        else:
            entry.read_at, entry.error, entry.failures = self._clock(), "", 0
            entry.next_at = self._clock() + self._interval
            self._wake(entry, entry.heads.total)

    def _failed(self, source: StreamSource, entry: _Log[K], error: SourceError) -> None:
        if error.message != entry.error:
            log.warning("cannot read the heads of stream %s: %s", source.stream, error)
        entry.error, entry.failures = error.message, entry.failures + 1
        factor = min(2 ** (entry.failures - 1), LONGEST_BACKOFF)
        entry.next_at = self._clock() + self._interval * factor

    def _wake(self, entry: _Log[K], total: int) -> None:
        for key in [key for key, threshold in entry.waiting.items() if total >= threshold]:
            entry.forget(key)
            self._notify(key)

    async def _forget_unwatched(self) -> None:
        """Close connections that nobody needs; a log read in between keeps its answer a while."""
        for source, entry in list(self._logs.items()):
            idle = not entry.watched and not entry.lock.locked()
            if idle and entry.next_at + self._interval < self._clock():
                del self._logs[source]
                if entry.reader is not None:
                    await entry.reader.close()
