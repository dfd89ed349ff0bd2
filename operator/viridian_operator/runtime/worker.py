"""Workers: take a key, run one pass over it, decide when it comes again."""

from __future__ import annotations

import asyncio
import logging
import random
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from viridian_operator.kube.errors import ApiError, Conflict
from viridian_operator.kube.resources import Key
from viridian_operator.kube.workqueue import WorkQueue
from viridian_operator.runtime.logging import bound
from viridian_operator.runtime.metrics import Metrics

#: One pass; returns the seconds until the next look, None if only events and the resync call for one.
Reconcile = Callable[[Key], Awaitable[float | None]]

log = logging.getLogger(__name__)


class Gone(Exception):
    """Raised by a pass whose ModelUpdate does not exist any more: the key is forgotten, without a failure."""


@dataclass(frozen=True, kw_only=True)
class Workers:
    """Runs passes.

    Parameters
    ----------
    timeout
        Seconds after which a pass is cancelled and counted as failed.
    resync
        Longest time in seconds without a pass, spread upwards by up to a half.
    gate
        Passes begin when it is set; until then keys gather in the queue.
    """

    queue: WorkQueue[Key]
    reconcile: Reconcile
    metrics: Metrics
    count: int
    timeout: float
    resync: float
    gate: asyncio.Event
    jitter: Callable[[], float] = random.random
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def start(self) -> None:
        """Begin to take keys."""
        for number in range(self.count):
            self.tasks.add(asyncio.create_task(self._work(), name=f"worker-{number}"))

    async def failed(self) -> None:
        """Return when a worker ended, which none does by itself; raises what ended it."""
        done, _ = await asyncio.wait(self.tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    async def drain(self, limit: float) -> None:
        """Stop the intake, let running passes finish within ``limit`` seconds, cancel the rest."""
        self.queue.close()
        try:
            async with asyncio.timeout(limit):
                await self.queue.idle()
        except TimeoutError:
            log.warning("%d passes were cut off after %g s", len(self.queue.working()), limit)
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def _work(self) -> None:
        await self.gate.wait()
        while True:
            key = await self.queue.get()
            try:
                with bound(namespace=key.namespace, name=key.name, reconcile=uuid.uuid4().hex[:12]):
                    await self._pass(key)
            finally:
                self.queue.done(key)

    async def _pass(self, key: Key) -> None:
        started, result = time.monotonic(), "error"
        try:
            async with asyncio.timeout(self.timeout):
                after = await self.reconcile(key)
        except Gone:
            result = "success"
            self.queue.forget(key)
            self.metrics.forget(key)
        except TimeoutError as error:
            result = "timeout"
            self._failed(key, error)
        except Exception as error:
            self._failed(key, error)
        else:
            result = "success" if after is None else "requeue_after"
            self.queue.forget(key)
            self.queue.add_after(key, self._next(after))
        finally:
            self.metrics.reconciled(result, time.monotonic() - started)

    def _next(self, after: float | None) -> float:
        resync = self.resync * (1 + self.jitter() / 2)
        return resync if after is None else min(max(after, 0.0), resync)

    def _failed(self, key: Key, error: Exception) -> None:
        """Count always, tell once per streak: a broken API server must not flood the log."""
        self.metrics.reconcile_failed(error)
        if isinstance(error, Conflict):
            log.debug("somebody else wrote first: %s", error)
        elif self.queue.failures(key):
            log.debug("failed again: %r", error)
        elif isinstance(error, ApiError):
            log.warning("pass failed: %s", error)
        elif isinstance(error, TimeoutError):
            # the traceback of the cancellation tells where it hung
            log.warning("pass took longer than %g s", self.timeout, exc_info=error)
        else:
            log.error("pass failed", exc_info=error)
        self.queue.add_limited(key)
