"""Probes and metrics over HTTP."""

from __future__ import annotations

import asyncio
import time

import aiohttp
import pytest

from viridian_operator.api.status import Phase
from viridian_operator.kube.resources import Key
from viridian_operator.runtime.metrics import Metrics
from viridian_operator.runtime.probes import Heartbeat, ProbeServer


@pytest.fixture
async def served():
    wrong = {"live": "", "ready": ""}
    metrics = Metrics()
    server = ProbeServer(
        host="127.0.0.1",
        port=0,
        registry=metrics.registry,
        live={"loop": lambda: wrong["live"]},
        ready={"watches": lambda: wrong["ready"]},
    )
    port = await server.start()
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        yield session, wrong, metrics
    await server.stop()


async def test_a_failed_check_is_named(served) -> None:
    session, wrong, _ = served
    async with session.get("/livez") as answer:
        assert answer.status == 200
    wrong["ready"] = "the watches have not started"
    async with session.get("/readyz") as answer:
        assert answer.status == 503
        assert "the watches have not started" in await answer.text()
    async with session.get("/livez") as answer:
        assert answer.status == 200


async def test_a_modelupdate_is_counted_in_one_phase_and_leaves_no_series_behind(served) -> None:
    session, _, metrics = served
    ctr, other = Key("n", "ctr"), Key("n", "other")
    metrics.phase(ctr, Phase.TRAINING)
    metrics.phase(other, Phase.TRAINING)
    metrics.phase(ctr, Phase.BAKING)
    metrics.phase(ctr, Phase.BAKING)
    metrics.model_event_time(ctr, 1732453000.5)
    metrics.update_finished(Phase.ROLLED_BACK)
    metrics.phase_finished(Phase.TRAINING, 12)
    async with session.get("/metrics") as answer:
        text = await answer.text()
    assert 'viridian_modelupdates{phase="Training"} 1.0' in text
    assert 'viridian_modelupdates{phase="Baking"} 1.0' in text
    assert 'viridian_model_event_time_seconds{name="ctr",namespace="n"}' in text
    assert 'viridian_updates_total{result="RolledBack"} 1.0' in text
    assert 'viridian_phase_duration_seconds_bucket{le="30.0",phase="Training"} 1.0' in text
    metrics.forget(ctr)
    metrics.forget(ctr)
    async with session.get("/metrics") as answer:
        text = await answer.text()
    assert 'viridian_modelupdates{phase="Baking"} 0.0' in text
    assert 'name="ctr"' not in text


async def test_the_heartbeat_sees_a_blocked_loop() -> None:
    told: list[float] = []
    heart = Heartbeat(period=0.02, report=told.append)
    beating = asyncio.create_task(heart.run())
    async with asyncio.timeout(5):
        while not told:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert heart.lag < 0.2
        time.sleep(0.3)  # noqa: ASYNC251
        while max(told) < 0.2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    beating.cancel()
