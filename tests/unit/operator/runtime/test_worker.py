"""Workers: when a key comes again, what is told, and how they end."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable

import pytest
from prometheus_client import generate_latest

from viridian_operator.api.status import Phase
from viridian_operator.kube.errors import Conflict, Unavailable
from viridian_operator.kube.resources import Key
from viridian_operator.kube.workqueue import WorkQueue
from viridian_operator.runtime.logging import JsonFormatter, bind
from viridian_operator.runtime.metrics import Metrics
from viridian_operator.runtime.worker import Gone, Workers

CTR = Key("n", "ctr")
Pass = Callable[[Key], Awaitable[float | None]]


async def until(condition: Callable[[], bool], seconds: float = 5) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@pytest.fixture
async def make():
    made: list[Workers] = []

    def build(
        reconcile: Pass, *, count: int = 2, timeout: float = 5, resync: float = 600, leading: bool = True
    ) -> Workers:
        gate = asyncio.Event()
        if leading:
            gate.set()
        workers = Workers(
            queue=WorkQueue(base=0.01, cap=0.05),
            reconcile=reconcile,
            metrics=Metrics(),
            count=count,
            timeout=timeout,
            resync=resync,
            gate=gate,
            jitter=lambda: 0.0,
        )
        workers.start()
        made.append(workers)
        return workers

    yield build
    for workers in made:
        await workers.drain(0)


def metric(workers: Workers, line: str) -> bool:
    return line in generate_latest(workers.metrics.registry).decode()


async def test_a_key_comes_again_when_its_pass_says_so(make) -> None:
    passes: list[Key] = []

    async def reconcile(key: Key) -> float:
        passes.append(key)
        return 0.02

    workers = make(reconcile)
    workers.queue.add(CTR)
    await until(lambda: len(passes) >= 3)
    assert metric(workers, 'viridian_reconcile_total{result="requeue_after"}')


async def test_the_resync_limits_every_wait(make) -> None:
    passes: list[Key] = []

    async def reconcile(key: Key) -> float | None:
        passes.append(key)
        return None if len(passes) == 1 else 1e9

    make(reconcile, resync=0.05).queue.add(CTR)
    await until(lambda: len(passes) >= 3)


async def test_one_key_is_never_in_two_passes(make) -> None:
    running, worst = 0, 0

    async def reconcile(_: Key) -> None:
        nonlocal running, worst
        running += 1
        worst = max(worst, running)
        await asyncio.sleep(0.02)
        running -= 1

    workers = make(reconcile, count=8)
    for _ in range(20):
        workers.queue.add(CTR)
        await asyncio.sleep(0.005)
    await until(lambda: not workers.queue.working() and len(workers.queue) == 0)
    assert worst == 1


async def test_failures_come_again_and_are_told_once_per_streak(make, caplog) -> None:
    attempts = 0

    async def reconcile(_: Key) -> None:
        nonlocal attempts
        attempts += 1
        if attempts != 4:
            raise Unavailable("etcd is away")

    workers = make(reconcile)
    caplog.set_level(logging.INFO)
    workers.queue.add(CTR)
    await until(lambda: attempts == 4)
    workers.queue.add(CTR)
    await until(lambda: attempts >= 7)
    assert [record.getMessage() for record in caplog.records] == ["pass failed: etcd is away"] * 2
    assert metric(workers, 'viridian_reconcile_errors_total{kind="Unavailable"}')


async def test_a_lost_race_is_no_news(make, caplog) -> None:
    attempts = 0

    async def reconcile(_: Key) -> None:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            raise Conflict("modified")

    caplog.set_level(logging.INFO)
    make(reconcile).queue.add(CTR)
    await until(lambda: attempts == 2)
    assert caplog.records == []


async def test_a_bug_is_told_with_its_traceback_and_harms_no_other_key(make, caplog) -> None:
    seen: set[str] = set()

    async def reconcile(key: Key) -> None:
        seen.add(key.name)
        if key == CTR:
            raise KeyError("oops")

    workers = make(reconcile, count=1)
    workers.queue.add(CTR)
    workers.queue.add(Key("n", "other"))
    await until(lambda: seen == {"ctr", "other"})
    assert caplog.records[0].exc_info is not None


async def test_a_pass_that_hangs_is_cancelled(make) -> None:
    cancelled = asyncio.Event()

    async def reconcile(_: Key) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    workers = make(reconcile, timeout=0.05)
    workers.queue.add(CTR)
    await asyncio.wait_for(cancelled.wait(), 5)
    await until(lambda: metric(workers, 'viridian_reconcile_total{result="timeout"}'))


async def test_what_is_gone_is_forgotten(make) -> None:
    passes = 0

    async def reconcile(_: Key) -> None:
        nonlocal passes
        passes += 1
        raise Gone

    workers = make(reconcile, resync=0.01)
    workers.metrics.phase(CTR, Phase.BAKING)
    workers.queue.add(CTR)
    await until(lambda: passes == 1 and not workers.queue.working())
    await asyncio.sleep(0.05)  # several resync times
    assert passes == 1
    assert metric(workers, 'viridian_modelupdates{phase="Baking"} 0.0')


async def test_draining_lets_passes_finish_and_takes_no_new_ones(make) -> None:
    finished: list[str] = []

    async def reconcile(key: Key) -> None:
        await asyncio.sleep(0.1)
        finished.append(key.name)

    workers = make(reconcile, count=1)
    workers.queue.add(CTR)
    workers.queue.add(Key("n", "later"))
    await until(lambda: bool(workers.queue.working()))
    await workers.drain(5)
    assert finished == ["ctr"]


async def test_a_standby_gathers_keys_and_works_on_them_when_the_gate_opens(make) -> None:
    passes: list[Key] = []

    async def reconcile(key: Key) -> None:
        passes.append(key)

    workers = make(reconcile, leading=False)
    for _ in range(3):
        workers.queue.add(CTR)
        await asyncio.sleep(0.01)
    assert passes == []
    workers.gate.set()
    await until(lambda: passes == [CTR])


async def test_lines_of_a_pass_carry_its_fields(make) -> None:
    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(JsonFormatter().format(record))

    log = logging.getLogger("test.pass")
    log.addHandler(Keep())
    log.setLevel(logging.INFO)

    async def reconcile(key: Key) -> None:
        bind(uid=f"uid-of-{key.name}", phase="Baking")
        await asyncio.sleep(0.01)
        log.info("decided", extra={"fields": {"reason": "HealthCheckFailed"}})

    workers = make(reconcile)
    workers.queue.add(CTR)
    workers.queue.add(Key("n", "two"))
    await until(lambda: len(lines) == 2)
    parsed = {line["name"]: line for line in map(json.loads, lines)}
    assert parsed["ctr"]["uid"] == "uid-of-ctr"
    assert parsed["two"]["uid"] == "uid-of-two"
    assert parsed["ctr"]["reason"] == "HealthCheckFailed"
    assert parsed["ctr"]["namespace"] == "n"
    assert parsed["ctr"]["reconcile"] != parsed["two"]["reconcile"]
    bare = json.loads(JsonFormatter().format(logging.makeLogRecord({"msg": "x"})))
    assert "uid" not in bare
