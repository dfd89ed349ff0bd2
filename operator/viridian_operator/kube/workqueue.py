"""A de-duplicating work queue with the semantics of client-go's.

A key is queued at most once however often it is added, and never handed to two workers at a time: what
is added while a worker has it comes again when the worker is done.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Hashable
from typing import Protocol


class Timer(Protocol):
    """A scheduled call, as event loops return it."""

    def cancel(self) -> None:
        """Do not call."""

    def when(self) -> float:
        """Time of the call on the loop's clock."""
        ...


class Clock(Protocol):
    """The part of an event loop that the queue needs."""

    def time(self) -> float:
        """Monotonic seconds."""
        ...

    def call_at(self, when: float, callback: Callable[..., object], *args: object) -> Timer:
        """Call back at a time."""
        ...


class QueueObserver(Protocol):
    """Told of what happens in a queue."""

    def added(self) -> None:
        """A key was queued."""

    def retried(self) -> None:
        """A key was put off after a failure."""

    def taken(self, waited: float, /) -> None:
        """A worker took a key that was ready for ``waited`` seconds."""

    def finished(self, worked: float, /) -> None:
        """A worker was done with a key after ``worked`` seconds."""


class Unobserved:
    """Observer that tells nobody."""

    def added(self) -> None:
        """See ``QueueObserver``."""

    def retried(self) -> None:
        """See ``QueueObserver``."""

    def taken(self, _waited: float, /) -> None:
        """See ``QueueObserver``."""

    def finished(self, _worked: float, /) -> None:
        """See ``QueueObserver``."""


class WorkQueue[K: Hashable]:
    """Queue of keys; every method belongs to the thread of the event loop.

    Parameters
    ----------
    observer
        Told of what happens, for metrics.
    base, cap
        ``add_limited`` waits ``base * 2**failures`` seconds, at most ``cap``.
    clock
        By default the running event loop.
    jitter
        Source of numbers in [0, 1); waiting times are spread by half of themselves.
    """

    def __init__(
        self,
        *,
        observer: QueueObserver | None = None,
        base: float = 0.005,
        cap: float = 60.0,
        clock: Clock | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._observer = observer or Unobserved()
        self._base, self._cap, self._jitter = base, cap, jitter
        self._clock: Clock = clock or asyncio.get_running_loop()
        self._ready: asyncio.Queue[K] = asyncio.Queue()
        self._dirty: dict[K, float] = {}
        self._busy: dict[K, float] = {}
        self._timers: dict[K, Timer] = {}
        self._failures: dict[K, int] = {}
        self._idle = asyncio.Event()
        self._idle.set()
        self._closed = False

    def __len__(self) -> int:
        """Keys that are ready for a worker."""
        return self._ready.qsize()

    def add(self, key: K) -> None:
        """Queue ``key`` now; a time set by ``add_after`` is dropped, since the pass will set a new one."""
        if self._closed:
            return
        if timer := self._timers.pop(key, None):
            timer.cancel()
        if key in self._dirty:
            return
        self._dirty[key] = self._clock.time()
        self._observer.added()
        if key not in self._busy:
            self._ready.put_nowait(key)

    def add_after(self, key: K, delay: float) -> None:
        """Queue ``key`` in ``delay`` seconds; of several times the earliest counts."""
        if self._closed or key in self._dirty:
            return
        if delay <= 0:
            self.add(key)
            return
        when, pending = self._clock.time() + delay, self._timers.get(key)
        if pending is not None:
            if pending.when() <= when:
                return
            pending.cancel()
        self._timers[key] = self._clock.call_at(when, self.add, key)

    def add_limited(self, key: K) -> None:
        """Queue ``key`` after a failure: each one in a row doubles the waiting time."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        self._observer.retried()
        # The exponent is bounded since floats are.
        delay = min(self._base * 2 ** min(failures, 32), self._cap)
        self.add_after(key, delay * (1 - self._jitter() / 2))

    def forget(self, key: K) -> None:
        """``key`` succeeded: its failures no longer count."""
        self._failures.pop(key, None)

    def failures(self, key: K) -> int:
        """Failures in a row."""
        return self._failures.get(key, 0)

    async def get(self) -> K:
        """The next key; the caller owns it until ``done``."""
        key = await self._ready.get()
        now = self._clock.time()
        self._observer.taken(now - self._dirty.pop(key))
        self._busy[key] = now
        self._idle.clear()
        return key

    def done(self, key: K) -> None:
        """The caller gives ``key`` back; it is ready at once if it was added meanwhile."""
        self._observer.finished(self._clock.time() - self._busy.pop(key))
        if key in self._dirty and not self._closed:
            self._ready.put_nowait(key)
        if not self._busy:
            self._idle.set()

    def close(self) -> None:
        """Stop the intake: nothing is queued or handed out any more."""
        self._closed = True
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        while not self._ready.empty():
            self._dirty.pop(self._ready.get_nowait(), None)

    async def idle(self) -> None:
        """Wait until no worker holds a key."""
        await self._idle.wait()

    def working(self) -> list[float]:
        """For how many seconds each key held by a worker has been held."""
        now = self._clock.time()
        return [now - since for since in self._busy.values()]
