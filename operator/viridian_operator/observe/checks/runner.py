"""Health checks beside the passes: a pass starts those that are due and takes results that have come in.

A pod or a Prometheus that hangs must not hold up the pass that would notice lost endpoints. Everything here
is in memory only: status says what is due, so an operator that restarts just asks again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

import aiohttp

from viridian_operator.api.health import HealthCheck
from viridian_operator.api.rollout import Rollout
from viridian_operator.api.status import Bake, CheckResult
from viridian_operator.decide.checking import checks_of, interval_of, is_due, repeated
from viridian_operator.kube.resources import Key
from viridian_operator.observe.checks.run import ask, look
from viridian_operator.observe.checks.subject import Outcome, Subject, result
from viridian_operator.observe.prober import Prober

#: checks and, for all of them together, questions that may be open at the same time
AT_ONCE = 64
#: seconds from start to result, waiting for others included
LIMIT = 60.0
#: seconds for which results wait for each other, since every hand-over is a write of the status
PATIENCE = 1.0

log = logging.getLogger(__name__)


@dataclass
class _Asked:
    """A check that runs, or has ended with a result that is not in status yet."""

    check: HealthCheck
    started: float
    task: asyncio.Task[None] | None = None
    result: CheckResult | None = None
    ended: float = 0.0


@dataclass
class _Bake:
    about: str
    asked: dict[str, _Asked] = field(default_factory=dict)

    @property
    def results(self) -> tuple[CheckResult, ...]:
        """What has come in."""
        return tuple(asked.result for asked in self.asked.values() if asked.result is not None)

    @property
    def running(self) -> dict[str, _Asked]:
        """Checks without a result."""
        return {name: asked for name, asked in self.asked.items() if asked.result is None}

    def complete(self, now: float) -> bool:
        """Whether results should be handed over: a failure is told at once, the rest waits for its fellows a while."""
        late = any(now - asked.started >= PATIENCE for asked in self.running.values())
        failed = any(result.outcome == Outcome.FAILED for result in self.results)
        return bool(self.results) and (failed or late or not self.running)


@dataclass(frozen=True)
class Findings:
    """``results`` that are not in status yet, and names of checks that still run."""

    results: tuple[CheckResult, ...] = ()
    running: frozenset[str] = frozenset()


class CheckRunner:
    """Owns all running checks; every method belongs to the thread of the event loop.

    Parameters
    ----------
    session
        From ``probe_session``; the passes' own questions do not wait for those of checks.
    wake
        Called with the key of a ModelUpdate when a result for it has come in.
    clock
        Monotonic seconds, for the age of results.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        wake: Callable[[Key], None],
        at_once: int = AT_ONCE,
        limit: float = LIMIT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._prober = Prober(session, at_once=at_once)
        self._gate = asyncio.Semaphore(at_once)
        self._wake, self._limit, self._clock = wake, limit, clock
        self._bakes: dict[Key, _Bake] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def turn(self, key: Key, about: str, rollout: Rollout, bake: Bake, subject: Subject, now: datetime) -> Findings:
        """Results of the checks that are due; those that have to ask are started, each at most once at a time.

        Parameters
        ----------
        about
            Names update and revision: whatever was asked about another one is dropped.
        """
        mine = self._of(key, about)
        due = {check.name: check for check in repeated(checks_of(rollout)) if is_due(rollout, check, bake, now)}
        for name, asked in list(mine.asked.items()):
            wanted = due.get(name)
            if wanted is None or not wanted.same_question(asked.check) or self._is_old(asked, rollout):
                _cancel(mine.asked.pop(name))
        fresh = [check for check in due.values() if check.name not in mine.asked]
        mine.asked |= {check.name: self._begin(key, check, subject, now) for check in fresh}
        if fresh and mine.running:
            asyncio.get_running_loop().call_later(PATIENCE + 0.01, self._tell, key, mine)
        return Findings(mine.results if mine.complete(self._clock()) else (), frozenset(mine.running))

    def drop(self, key: Key) -> None:
        """Nothing bakes there any more."""
        if (bake := self._bakes.pop(key, None)) is not None:
            for asked in bake.asked.values():
                _cancel(asked)

    async def aclose(self) -> None:
        """Cancel everything and wait until it is gone."""
        for key in list(self._bakes):
            self.drop(key)
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _of(self, key: Key, about: str) -> _Bake:
        if key in self._bakes and self._bakes[key].about != about:
            self.drop(key)
        return self._bakes.setdefault(key, _Bake(about))

    def _begin(self, key: Key, check: HealthCheck, subject: Subject, now: datetime) -> _Asked:
        started = self._clock()
        if (found := look(check, subject)) is not None:
            return _Asked(check, started, result=found.but(checked_at=now), ended=started)
        task = asyncio.create_task(self._run(key, check, subject, now), name=f"check-{key.name}-{check.name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return _Asked(check, started, task)

    async def _run(self, key: Key, check: HealthCheck, subject: Subject, now: datetime) -> None:
        found = await self._result(check, subject)
        bake = self._bakes.get(key)
        asked = bake.asked.get(check.name) if bake else None
        if bake is None or asked is None or asked.task is not asyncio.current_task():
            return
        asked.result, asked.ended = found.but(checked_at=now), self._clock()
        self._tell(key, bake)

    def _tell(self, key: Key, bake: _Bake) -> None:
        """Ask for a pass if it would be given something."""
        if self._bakes.get(key) is bake and bake.complete(self._clock()):
            self._wake(key)

    async def _result(self, check: HealthCheck, subject: Subject) -> CheckResult:
        try:
            async with asyncio.timeout(self._limit), self._gate:
                return await ask(check, subject, self._prober)
        except TimeoutError:
            return result(check.name, Outcome.ERRORED, f"did not end within {self._limit:g} s")
        except Exception as error:
            log.exception("health check %s of %s/%s", check.name, subject.namespace, subject.name)
            return result(check.name, Outcome.ERRORED, f"{type(error).__name__}: {error}"[:200])

    def _is_old(self, asked: _Asked, rollout: Rollout) -> bool:
        """Whether a result waited for a pass for longer than the interval that it was to tell about."""
        interval = interval_of(rollout, asked.check).total_seconds()
        return asked.result is not None and self._clock() - asked.ended > interval


def _cancel(asked: _Asked) -> None:
    if asked.task is not None:
        asked.task.cancel()
