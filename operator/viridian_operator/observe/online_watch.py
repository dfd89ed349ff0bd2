"""Online trainers and their replicas, looked at between passes: those read the whole cluster, this nothing of it.

Figures change all the time and are taken by passes now and then; what somebody should know at once wakes one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass

import aiohttp

from viridian_operator.decide.observation import Identity, OnlineReport
from viridian_operator.observe.identity import ask_identity
from viridian_operator.observe.online import ask_trainer
from viridian_operator.observe.prober import AT_ONCE, Prober

#: seconds between two looks
INTERVAL = 1.0

log = logging.getLogger(__name__)

News = tuple[object, ...]


@dataclass
class _Watch:
    """Whom to ask: the trainer ("" while it has no pod) and replicas by name."""

    trainer: str
    replicas: Mapping[str, str]
    #: what was told last; None before the first look
    known: News | None = None


class OnlineWatch[K: Hashable]:
    """Wakes those whose trainer or replicas say something new.

    Parameters
    ----------
    notify
        Called with the key.
    session
        From ``probe_session``.
    """

    def __init__(
        self, notify: Callable[[K], None], session: aiohttp.ClientSession, *, interval: float = INTERVAL
    ) -> None:
        self._notify, self._interval = notify, interval
        self._prober = Prober(session, at_once=AT_ONCE)
        self._watches: dict[K, _Watch] = {}
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def watch(self, key: K, trainer: str, replicas: Mapping[str, str]) -> None:
        """Look at the trainer and at these replicas (base URLs) from now on."""
        old = self._watches.get(key)
        known = old.known if old and (old.trainer, old.replicas) == (trainer, replicas) else None
        self._watches[key] = _Watch(trainer, dict(replicas), known)
        self._changed.set()
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="online")

    def unwatch(self, key: K) -> None:
        """``key`` trains nothing online."""
        self._watches.pop(key, None)

    async def aclose(self) -> None:
        """Stop looking."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            self._changed.clear()
            looks = [self._look(key, watch) for key, watch in list(self._watches.items())]
            for problem in await asyncio.gather(*looks, return_exceptions=True):
                if isinstance(problem, Exception):  # one answer of another form must not end all looks
                    log.error("cannot look at an online trainer", exc_info=problem)
            if self._watches:
                await asyncio.sleep(self._interval)
            else:
                await self._changed.wait()

    async def _look(self, key: K, watch: _Watch) -> None:
        report, identities = await asyncio.gather(
            self._report(watch.trainer),
            asyncio.gather(*(ask_identity(self._prober, address) for address in watch.replicas.values())),
        )
        found = _news(report, dict(zip(watch.replicas, identities, strict=True)))
        before, watch.known = watch.known, found
        if before not in (None, found) and self._watches.get(key) is watch:
            self._notify(key)

    async def _report(self, trainer: str) -> OnlineReport | None:
        return await ask_trainer(self._prober, trainer) if trainer else None


def _news(report: OnlineReport | None, replicas: Mapping[str, Identity | None]) -> News:
    """What people want to know at once: state, anchors, reverts, and who answers with what; no numbers of deltas."""
    said = (report.state, report.pending, report.reverts, report.error) if report else None
    places = tuple(sorted((name, _place(each)) for name, each in replicas.items()))
    return said, places, _agree(report, replicas)


def _place(identity: Identity | None) -> tuple[str, str, int]:
    return (identity.version, identity.sequence.partition(".")[0], identity.repaired) if identity else ("", "", 0)


def _agree(report: OnlineReport | None, replicas: Mapping[str, Identity | None]) -> bool:
    """Whether those at the same sequence, the trainer's head included, have the same Merkle root."""
    said = [each for each in (report, *replicas.values()) if each is not None and each.root]
    return len({(each.sequence, each.root) for each in said}) == len({each.sequence for each in said})
