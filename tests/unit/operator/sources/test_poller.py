"""The poller: shared, silent while nobody waits, patient while the log is down."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest
from redis.asyncio import Redis
from redis_server import RedisServer

from viridian_operator.api.status import Detection
from viridian_operator.sources.drift import DriftFindings
from viridian_operator.sources.errors import Unavailable
from viridian_operator.sources.poller import DriftWatch, HeadsPoller
from viridian_operator.sources.redis_stream import Heads, StreamSource


async def until(condition: Callable[[], bool], seconds: float = 5) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


class Reader:
    """A log whose length and failures the test sets; counts how often it is read."""

    def __init__(self) -> None:
        self.total, self.reads, self.closed = 0, 0, False
        self.error: Exception | None = None
        self.slow: asyncio.Event | None = None
        self.detections: dict[str, int] = {}

    async def heads(self) -> Heads:
        self.reads += 1
        if self.slow is not None:
            await self.slow.wait()
        if self.error is not None:
            raise self.error
        return Heads({"0": f"{self.total}@1-0"}, self.total, {"0": "0@0-0"}, {"0": 0})

    async def findings(self, keys: Sequence[str]) -> list[DriftFindings]:
        return [_found(self.detections.get(key, 0)) for key in keys]

    async def close(self) -> None:
        self.closed = True


def _found(number: int) -> DriftFindings:
    if not number:
        return DriftFindings()
    return DriftFindings(Detection(number=number, event_time=1.0, before=0.4, after=0.6, events=99, version="3"))


SOURCE = StreamSource("redis://r", "clicks", 1)
OTHER = StreamSource("redis://r", "views", 1)


@pytest.fixture
def readers() -> dict[StreamSource, Reader]:
    return {SOURCE: Reader(), OTHER: Reader()}


@pytest.fixture
async def setting(readers):
    woken: list[str] = []
    poller: HeadsPoller[str] = HeadsPoller(woken.append, interval=0.05, connect=readers.__getitem__)
    running = asyncio.create_task(poller.run())
    yield poller, readers[SOURCE], woken
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_who_waits_is_woken_once_when_there_is_enough(setting) -> None:
    poller, reader, woken = setting
    poller.watch("few", SOURCE, 10)
    poller.watch("many", SOURCE, 1000)
    await until(lambda: reader.reads > 2)
    assert woken == []
    reader.total = 10
    await until(lambda: woken == ["few"])
    reads = reader.reads
    await until(lambda: reader.reads > reads + 2)
    assert woken == ["few"]


async def test_one_log_is_read_once_for_all(setting) -> None:
    poller, reader, _ = setting
    for number in range(100):
        poller.watch(f"key-{number}", SOURCE, 10)
    await until(lambda: reader.reads >= 4)
    assert reader.reads <= 6


async def test_nothing_is_read_while_nobody_waits(setting) -> None:
    poller, reader, woken = setting
    poller.watch("a", SOURCE, 1)
    reader.total = 1
    await until(lambda: woken == ["a"])
    reads = reader.reads
    poller.watch("b", SOURCE, 100)
    poller.unwatch("b")
    await asyncio.sleep(0.3)  # several intervals in which nothing may happen
    assert reader.reads <= reads + 1


async def test_a_key_waits_for_one_log_at_a_time(setting, readers) -> None:
    poller, reader, woken = setting
    poller.watch("a", SOURCE, 1)
    await until(lambda: reader.reads > 0)
    poller.watch("a", OTHER, 1)
    reader.total = 5
    await until(lambda: readers[OTHER].reads > 2)
    assert woken == []
    await until(lambda: reader.closed)


async def test_failures_are_told_and_slow_the_polls_down(setting) -> None:
    poller, reader, woken = setting
    reader.total = 7
    await poller.read(SOURCE, max_age=0)
    reader.error = Unavailable("connection refused")
    poller.watch("a", SOURCE, 8)
    await until(lambda: poller.latest(SOURCE).error != "")
    reading = poller.latest(SOURCE)
    assert reading.error == "connection refused"
    assert reading.heads is not None
    assert reading.heads.total == 7
    reads = reader.reads
    await asyncio.sleep(0.5)  # ten intervals
    assert reader.reads - reads <= 4
    reader.error, reader.total = None, 8
    await until(lambda: woken == ["a"])
    assert poller.latest(SOURCE).error == ""


async def test_simultaneous_reads_are_one(setting) -> None:
    poller, reader, _ = setting
    reader.slow = asyncio.Event()
    reading = [asyncio.create_task(poller.read(SOURCE, max_age=1)) for _ in range(20)]
    await until(lambda: reader.reads == 1)
    reader.slow.set()
    assert {(await task).heads.total for task in reading} == {0}
    assert reader.reads == 1


async def test_a_read_takes_what_is_fresh_enough(setting) -> None:
    poller, reader, _ = setting
    await poller.read(SOURCE, max_age=60)
    await poller.read(SOURCE, max_age=60)
    assert reader.reads == 1
    await poller.read(SOURCE, max_age=0)
    assert reader.reads == 2


async def test_a_log_that_was_never_read(setting) -> None:
    poller, _, _ = setting
    assert poller.latest(SOURCE).heads is None
    assert poller.latest(SOURCE).age == float("inf")


async def test_a_real_log_that_goes_away_and_comes_back(own_redis: RedisServer) -> None:
    woken: list[str] = []
    poller: HeadsPoller[str] = HeadsPoller(woken.append, interval=0.1)
    running = asyncio.create_task(poller.run())
    source = StreamSource(own_redis.url, "clicks", 2)
    poller.watch("ctr", source, 3)
    await until(lambda: poller.latest(source).heads is not None)
    own_redis.stop()
    await until(lambda: poller.latest(source).error != "", 10)
    own_redis.start()
    async with Redis.from_url(own_redis.url) as redis:
        for partition in (0, 1, 1):
            await redis.xadd(f"clicks:{partition}", {"event": "{}"})
    await until(lambda: woken == ["ctr"], 15)
    assert poller.latest(source).heads.total == 3
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_who_watches_for_drift_is_woken_once_for_what_is_not_known(setting) -> None:
    poller, reader, woken = setting
    reader.detections = {"u1": 2}
    poller.watch("knows", SOURCE, drift=DriftWatch("u1", 2))
    poller.watch("asks", SOURCE, 10, DriftWatch("u2", 0))
    await until(lambda: reader.reads > 2)
    assert woken == []
    reader.detections |= {"u2": 1}
    await until(lambda: woken == ["asks"])
    reader.total = 10
    reads = reader.reads
    await until(lambda: reader.reads > reads + 2)
    assert woken == ["asks"], "it waits for nothing until it asks again"
    reader.detections |= {"u1": 3}
    await until(lambda: woken == ["asks", "knows"])
    assert (await poller.findings(SOURCE, "u1")).number == 3
