"""Aliases that somebody follows, polled without a pass: an idle ModelUpdate costs no request to Kubernetes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from viridian_operator.registry.errors import NotFound, RegistryError, Unauthorized, Unavailable
from viridian_operator.registry.mlflow import MlflowRegistry

log = logging.getLogger(__name__)

#: Polls are put off by at most so many intervals after failures.
LONGEST_BACKOFF = 12
AT_ONCE = 16


@dataclass
class _Watch:
    """One alias; ``known`` is the version that it named when its follower last looked, "" for none."""

    registry: MlflowRegistry
    model: str
    alias: str
    known: str
    interval: float
    next_at: float
    failures: int = 0


class AliasPoller[K: Hashable]:
    """Wakes those whose alias names another version than they know of; one request per look.

    Parameters
    ----------
    notify
        Called with the key when its alias moved, or the registry refused the credentials, which may have changed.
    """

    def __init__(self, notify: Callable[[K], None], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._notify, self._clock = notify, clock
        self._watches: dict[K, _Watch] = {}
        self._changed = asyncio.Event()
        self._at_once = asyncio.Semaphore(AT_ONCE)
        self._task: asyncio.Task[None] | None = None

    def watch(self, key: K, registry: MlflowRegistry, model: str, alias: str, *, known: str, interval: float) -> None:
        """Call back ``key`` once ``alias`` names another version than ``known``; replaces what it waited for."""
        old, due = self._watches.get(key), self._clock() + interval
        watch = _Watch(registry, model, alias, known, interval, due)
        if old is not None and (old.model, old.alias, old.known) == (model, alias, known):
            watch.next_at, watch.failures = min(old.next_at, due) if not old.failures else old.next_at, old.failures
        self._watches[key] = watch
        self._changed.set()
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="aliases")

    def unwatch(self, key: K) -> None:
        """``key`` follows nothing, or looks by itself."""
        self._watches.pop(key, None)

    def hint(self, model: str) -> None:
        """Something happened to ``model``: look at its aliases now."""
        for watch in self._watches.values():
            if watch.model == model:
                watch.next_at = self._clock()
        self._changed.set()

    async def aclose(self) -> None:
        """Stop polling."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            self._changed.clear()
            due = [(key, watch) for key, watch in self._watches.items() if watch.next_at <= self._clock()]
            await asyncio.gather(*(self._look(key, watch) for key, watch in due))
            times = [watch.next_at for watch in self._watches.values()]
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, min(times) - self._clock()) if times else None):
                    await self._changed.wait()

    async def _look(self, key: K, watch: _Watch) -> None:
        try:
            async with self._at_once:
                found = (await watch.registry.aliases(watch.model)).get(watch.alias, "")
        except NotFound:
            found = ""
        except RegistryError as error:
            self._failed(key, watch, error)
            return
        except (KeyError, TypeError) as error:  # an answer of another form must not end all polls
            self._failed(key, watch, Unavailable(f"the registry gave an answer of another form: {error!r}"))
            return
        watch.failures, watch.next_at = 0, self._clock() + watch.interval
        if found != watch.known and self._watches.get(key) is watch:
            self._notify(key)

    def _failed(self, key: K, watch: _Watch, error: RegistryError) -> None:
        if not watch.failures:
            log.warning("cannot look at alias %s of model %s: %s", watch.alias, watch.model, error.message)
        watch.failures += 1
        factor = min(2 ** (watch.failures - 1), LONGEST_BACKOFF)
        watch.next_at = self._clock() + watch.interval * factor
        if isinstance(error, Unauthorized) and self._watches.get(key) is watch:
            self._notify(key)
