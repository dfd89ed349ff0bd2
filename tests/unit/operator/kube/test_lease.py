"""The Lease between two processes whose clocks the test turns."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from memory_cluster import MemoryCluster

from viridian_operator.kube.elector import Elector
from viridian_operator.kube.errors import Conflict, Unavailable
from viridian_operator.kube.lease import Lease, LeaseTerms


@dataclass
class HandClock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


async def until(condition: Callable[[], bool], seconds: float = 5) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def terms(identity: str, **changes) -> LeaseTerms:
    return LeaseTerms(namespace="n", name="l", identity=identity, **changes)


@pytest.fixture
def cluster() -> MemoryCluster:
    return MemoryCluster()


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


async def test_the_first_takes_it_and_keeps_it_while_it_renews(cluster, clock) -> None:
    a, b = Lease(cluster, terms("a"), clock), Lease(cluster, terms("b"), clock)
    assert await a.try_acquire()
    for _ in range(20):
        clock.now += 4
        await a.renew()
        assert not await b.try_acquire()


async def test_another_takes_over_when_the_holder_shows_no_sign_of_life(cluster, clock) -> None:
    a, b = Lease(cluster, terms("a"), clock), Lease(cluster, terms("b"), clock)
    await a.try_acquire()
    clock.now += 100  # b never saw it change before, so it cannot know how old it is
    assert not await b.try_acquire()
    clock.now += 4.9
    assert not await b.try_acquire()
    clock.now += 0.2
    assert await b.try_acquire()
    with pytest.raises(Conflict):
        await a.renew()
    assert not await a.reread()
    assert a.holder == "b"


async def test_a_released_lease_is_free_at_once(cluster, clock) -> None:
    a, b = Lease(cluster, terms("a"), clock), Lease(cluster, terms("b"), clock)
    await a.try_acquire()
    assert not await b.try_acquire()
    await a.release()
    assert await b.try_acquire()
    await a.release()
    assert cluster.objects["Lease", "n", "l"]["spec"]["holderIdentity"] == "b"


async def test_only_one_of_two_wins_a_race(cluster, clock) -> None:
    leases = [Lease(cluster, terms(name), clock) for name in "abcdef"]
    assert sum(await asyncio.gather(*(lease.try_acquire() for lease in leases))) == 1


async def test_a_renewal_whose_reply_was_lost_is_not_the_end(cluster) -> None:
    lost: list[str] = []
    lease = Lease(cluster, terms("a"))
    elector = Elector(lease, terms("a", renew=0.02, deadline=2), lost=lost.append)
    await elector.acquire()
    stored = cluster.objects["Lease", "n", "l"]
    await cluster.replace(stored)  # as if our own renewal had been written behind our back
    holding = asyncio.create_task(elector.hold())
    await until(lambda: int(cluster.objects["Lease", "n", "l"]["metadata"]["resourceVersion"]) > 2)
    assert elector.leading
    assert lost == []
    holding.cancel()
    await elector.release()


async def test_who_lost_it_to_another_stops_at_once(cluster) -> None:
    lost: list[str] = []
    elector = Elector(Lease(cluster, terms("a")), terms("a", renew=0.02, deadline=2), lost=lost.append)
    await elector.acquire()
    stored = cluster.objects["Lease", "n", "l"]
    stored["spec"]["holderIdentity"] = "b"
    await cluster.replace(stored)
    holding = asyncio.create_task(elector.hold())
    await until(lambda: bool(lost))
    assert "b holds the Lease" in lost[0]
    holding.cancel()


async def test_the_deadline_ends_the_process_even_while_the_event_loop_hangs(cluster) -> None:
    lost = threading.Event()
    elector = Elector(Lease(cluster, terms("a")), terms("a", renew=0.1, deadline=0.4), lost=lambda _: lost.set())
    await elector.acquire()
    started = time.monotonic()
    assert lost.wait(3)  # blocks the loop on purpose
    assert time.monotonic() - started < 1.5


async def test_the_fence_ends_a_process_that_was_frozen_but_not_one_that_gave_the_lease_back(cluster, clock) -> None:
    lost: list[str] = []
    elector = Elector(Lease(cluster, terms("a"), clock), terms("a"), lost=lost.append, clock=clock)
    elector.fence()
    await elector.acquire()
    elector.fence()
    assert lost == []
    await elector.release()
    clock.now += 60
    elector.fence()
    assert lost == []
    await elector.acquire()
    assert not elector.leading  # a process leads once


async def test_an_unreachable_api_server_is_waited_for(cluster) -> None:
    cluster.error = Unavailable("down")
    elector = Elector(Lease(cluster, terms("a")), terms("a", poll=0.02), lost=lambda _: None)
    waiting = asyncio.create_task(elector.acquire())
    await asyncio.sleep(0.05)
    assert not elector.informed
    cluster.error = None
    await asyncio.wait_for(waiting, 5)
    assert elector.leading
    await elector.release()


def test_times_that_would_allow_two_leaders_are_refused() -> None:
    with pytest.raises(ValueError, match="deadline"):
        terms("a", deadline=5)
