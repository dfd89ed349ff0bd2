"""Checks beside the pass: nothing waits for them, what comes in is handed over, what is old goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web
from answering import Server, hang, subject

from viridian_operator.api.rollout import Rollout
from viridian_operator.api.status import Bake
from viridian_operator.decide.checking import account
from viridian_operator.kube.resources import Key
from viridian_operator.observe.checks.runner import CheckRunner, Findings
from viridian_operator.observe.prober import probe_session

START = datetime(2026, 1, 1, tzinfo=UTC)
KEY = Key("recsys", "ctr")


class Passes:
    """Passes of one ModelUpdate over a runner; wakes are counted."""

    runner: CheckRunner

    def __init__(self, server: Server, woken: asyncio.Queue[Key]) -> None:
        self.server, self.woken, self.monotonic = server, woken, 0.0
        self.bake = Bake(started_at=START, deadline=START + timedelta(hours=1))
        self.rollout = Rollout()
        self.check(path="/score")

    def check(self, **probe: Any) -> None:
        checks = [{"name": "ready", "readyPercent": 100}, {"name": "probe", "probe": probe}]
        self.rollout = Rollout.model_validate({"healthChecks": checks})

    def turn(self, second: float, *, about: str = "7/hash1", written: bool = True, ready: int = 2) -> Findings:
        now = START + timedelta(seconds=second)
        found = self.runner.turn(KEY, about, self.rollout, self.bake, subject(self.server, ready=ready), now)
        if written:
            self.bake = account(self.rollout, self.bake, found.results, now)
        return found

    async def result(self, second: float, **more: Any) -> dict[str, str]:
        async with asyncio.timeout(10):
            assert await self.woken.get() == KEY
        return outcomes(self.turn(second, **more))


def outcomes(found: Findings) -> dict[str, str]:
    return {result.name: result.outcome for result in found.results}


@pytest.fixture
async def passes(server: Server) -> AsyncIterator[Passes]:
    server.replies["/score"] = (200, {})
    woken: asyncio.Queue[Key] = asyncio.Queue()
    async with probe_session() as session:
        passes = Passes(server, woken)
        runner = CheckRunner(session, wake=woken.put_nowait, limit=5.0, clock=lambda: passes.monotonic)
        passes.runner = runner
        yield passes
        await runner.aclose()


async def test_results_of_an_interval_come_together(passes: Passes) -> None:
    assert passes.turn(9) == Findings()
    started = passes.turn(10)
    assert (outcomes(started), started.running) == ({}, {"probe"})
    assert await passes.result(11) == {"ready": "Passed", "probe": "Passed"}
    assert {result.checked_at for result in passes.bake.results} == {START + timedelta(seconds=10)}
    assert passes.turn(12) == Findings()
    assert len(passes.server.asked) == 2  # one request to each of two pods


async def test_a_result_that_was_not_written_is_handed_over_again(passes: Passes) -> None:
    passes.turn(10)
    assert await passes.result(11, written=False) == {"ready": "Passed", "probe": "Passed"}
    assert outcomes(passes.turn(12)) == {"ready": "Passed", "probe": "Passed"}
    assert outcomes(passes.turn(13)) == {}


async def test_a_check_that_hangs_is_asked_once_and_ends_as_an_error(passes: Passes) -> None:
    passes.server.replies["/score"] = hang
    assert outcomes(passes.turn(10)) == {}
    passes.monotonic += 1  # others wait for it no longer than that
    assert await passes.result(11) == {"ready": "Passed"}
    assert passes.turn(12).running == {"probe"}
    assert await passes.result(13) == {"probe": "Errored"}
    assert len(passes.server.asked) == 2


async def test_a_failure_does_not_wait_for_others(passes: Passes) -> None:
    passes.server.replies["/score"] = hang
    assert outcomes(passes.turn(10, ready=1)) == {"ready": "Failed"}


async def test_results_about_something_else_are_dropped(passes: Passes) -> None:
    passes.turn(10)
    await passes.woken.get()
    assert outcomes(passes.turn(11, about="8/hash2", written=False)) == {}
    found = await passes.result(12, about="8/hash2", written=False)
    assert found == {"ready": "Passed", "probe": "Passed"}
    passes.check(path="/other")  # another question: the answer to the old one says nothing
    assert outcomes(passes.turn(13, about="8/hash2")) == {}
    assert (await passes.result(14, about="8/hash2"))["probe"] == "Failed"


async def test_results_older_than_their_interval_are_dropped(passes: Passes) -> None:
    passes.turn(10)
    await passes.woken.get()
    passes.monotonic += 10.5
    found = passes.turn(11)
    assert (outcomes(found), found.running) == ({}, {"probe"})


@pytest.mark.parametrize("close", [False, True])
async def test_nothing_runs_on_when_the_bake_is_over(passes: Passes, close: bool) -> None:
    passes.server.replies["/score"] = hang
    passes.turn(10)
    (task,) = [task for task in asyncio.all_tasks() if task.get_name() == "check-ctr-probe"]
    if close:
        await passes.runner.aclose()
        assert task.done()
    passes.runner.drop(KEY)
    await asyncio.wait([task], timeout=1)
    assert task.cancelled()
    assert passes.woken.empty()


async def test_only_so_many_run_at_once(server: Server) -> None:
    asked: asyncio.Queue[str] = asyncio.Queue()

    async def reply(request: web.Request) -> web.StreamResponse:
        asked.put_nowait(request.path)
        return await hang(request)

    server.replies["/score"] = reply
    async with probe_session() as session:
        runner = CheckRunner(session, wake=lambda _key: None, at_once=1)
        passes = Passes(server, asyncio.Queue())
        for name in ("a", "b", "c"):
            about = subject(server, ready=1)
            runner.turn(Key("recsys", name), name, passes.rollout, passes.bake, about, START + timedelta(hours=1))
        async with asyncio.timeout(10):
            await asked.get()
        assert asked.empty()
        await runner.aclose()
