"""Events: once per transition, counted when repeated, never a reason to fail."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest
from memory_cluster import MemoryCluster

from viridian_operator.kube.errors import Forbidden, Unavailable
from viridian_operator.kube.events import MESSAGE_LIMIT, QUEUE_LIMIT, EventRecorder
from viridian_operator.kube.resources import MODEL_UPDATE, ObjectRef

CTR = ObjectRef(MODEL_UPDATE, "n", "ctr", "u-1")


@dataclass
class HandClock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def setting():
    cluster, clock = MemoryCluster(), HandClock()
    recorder = EventRecorder(cluster, instance="me", clock=clock)
    running = asyncio.create_task(recorder.run())
    yield recorder, cluster, clock
    running.cancel()


def posted(cluster: MemoryCluster) -> list[dict]:
    return list(cluster.objects.values())


async def test_what_a_person_needs_is_in_it(setting) -> None:
    recorder, cluster, _ = setting
    recorder.record(CTR, reason="RolledBack", message="golden request 2 differs", warning=True)
    await recorder.flush(1)
    (event,) = posted(cluster)
    assert (event["reason"], event["note"], event["type"]) == ("RolledBack", "golden request 2 differs", "Warning")
    assert event["regarding"]["name"] == "ctr"
    assert event["regarding"]["uid"] == "u-1"


async def test_repetitions_raise_a_count_within_the_window_only(setting) -> None:
    recorder, cluster, clock = setting
    for _ in range(3):
        recorder.record(CTR, reason="BackingOff", message="waiting")
    recorder.record(CTR, reason="BackingOff", message="waiting longer")
    await recorder.flush(1)
    first, second = posted(cluster)
    assert first["series"]["count"] == 3
    assert "series" not in second
    clock.now += 601
    recorder.record(CTR, reason="BackingOff", message="waiting")
    await recorder.flush(1)
    assert len(posted(cluster)) == 3


async def test_an_event_that_the_server_forgot_is_posted_anew(setting) -> None:
    recorder, cluster, _ = setting
    recorder.record(CTR, reason="Trained", message="m")
    await recorder.flush(1)
    cluster.objects.clear()
    recorder.record(CTR, reason="Trained", message="m")
    await recorder.flush(1)
    assert len(posted(cluster)) == 1


@pytest.mark.parametrize("error", [Forbidden("no"), Unavailable("down")])
async def test_a_server_that_refuses_harms_nobody(setting, error) -> None:
    recorder, cluster, _ = setting
    cluster.error = error
    recorder.record(CTR, reason="Trained", message="m")
    await recorder.flush(1)
    cluster.error = None
    recorder.record(CTR, reason="Trained", message="m")
    await recorder.flush(1)
    assert recorder.dropped == 1
    assert len(posted(cluster)) == 1


async def test_it_never_grows_without_bound() -> None:
    recorder = EventRecorder(MemoryCluster(), instance="me")
    for number in range(QUEUE_LIMIT + 10):
        recorder.record(CTR, reason="Trained", message=f"{number}" * MESSAGE_LIMIT)
    assert recorder.dropped == 10
