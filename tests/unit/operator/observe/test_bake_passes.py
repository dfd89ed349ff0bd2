"""Whole passes over a bake whose Prometheus hangs: quick, told when results come in, ended with the ModelUpdate."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from answering import Server, hang
from applying_cluster import body, revision, spec, update
from passes import KEY, StatusCluster, reconciler

from viridian_operator.api import names
from viridian_operator.api.base import rfc3339
from viridian_operator.api.status import Bake, ModelUpdateStatus, Phase
from viridian_operator.kube.resources import Key
from viridian_operator.runtime.worker import Gone


class Passes:
    """The reconciler, with times of its passes."""

    def __init__(self) -> None:
        self.cluster, self.woken = StatusCluster(), asyncio.Queue[Key]()
        self.reconciler = reconciler(self.cluster, self.woken.put_nowait)

    def pod(self, hash_: str, port: int) -> None:
        meta = {"name": f"ctr-{hash_}-0", "namespace": "recsys"}
        meta["labels"] = {names.MODEL_UPDATE: "ctr", names.REVISION: hash_}  # type: ignore[assignment]
        ready = {"podIP": "127.0.0.1", "conditions": [{"type": "Ready", "status": "True"}]}
        container = {"name": "server", "env": [{"name": "VIRIDIAN_PORT", "value": str(port)}]}
        self.cluster.put({"kind": "Pod", "metadata": meta, "spec": {"containers": [container]}, "status": ready})

    async def run(self) -> float | None:
        begun = time.monotonic()
        wait = await self.reconciler(KEY)
        assert time.monotonic() - begun < 1
        return wait

    async def until_told(self) -> None:
        async with asyncio.timeout(20):
            await self.woken.get()


@pytest.fixture
async def passes(server: Server) -> AsyncIterator[Passes]:
    server.replies["/api/v1/query"] = hang
    found, began = Passes(), datetime.now(UTC) - timedelta(seconds=30)
    checks = [
        {"name": "ready", "readyPercent": 100},
        {"name": "errors", "prometheus": {"url": server.url, "query": "q", "max": 1}},
    ]
    bake = Bake(started_at=began, deadline=began + timedelta(hours=1))
    going_on = update(Phase.BAKING, green=revision(2), replicas=1, bake=bake, phase_since=began)
    status = ModelUpdateStatus(active=revision(2), previous=revision(1), update=going_on)
    wanted = spec(trigger={"newEvents": 1}, rollout={"healthChecks": checks}).wire()
    meta = body()["metadata"] | {"resourceVersion": "1", "creationTimestamp": rfc3339(began)}
    found.cluster.put({**body(), "metadata": meta, "spec": wanted, "status": status.wire()})
    for hash_ in ("hash1", "hash2"):
        found.pod(hash_, int(server.url.rpartition(":")[2]))
    yield found
    await found.reconciler.aclose()


def outcomes(cluster: StatusCluster) -> dict[str, str]:
    found = cluster.status.update
    assert found is not None
    assert found.bake is not None
    return {result.name: result.outcome for result in found.bake.results}


async def test_passes_are_quick_while_a_check_hangs_and_its_end_is_told(passes: Passes) -> None:
    await passes.run()
    assert outcomes(passes.cluster) == {}
    await passes.until_told()
    await passes.run()
    assert outcomes(passes.cluster) == {"ready": "Passed"}
    await passes.until_told()
    await passes.run()
    assert outcomes(passes.cluster) == {"ready": "Passed", "errors": "Errored"}


async def test_lost_endpoints_are_acted_on_while_a_check_hangs(passes: Passes) -> None:
    await passes.run()
    del passes.cluster.objects["Pod", "ctr-hash2-0"]
    await passes.run()
    assert passes.cluster.status.phase is Phase.ROLLING_BACK
    await passes.run()
    assert passes.cluster.objects["Service", "ctr"]["spec"]["selector"][names.REVISION] == "hash1"


async def test_a_check_ends_with_its_model_update(passes: Passes) -> None:
    await passes.run()
    (task,) = [task for task in asyncio.all_tasks() if task.get_name() == "check-ctr-errors"]
    del passes.cluster.objects["ModelUpdate", "ctr"]
    with pytest.raises(Gone):
        await passes.reconciler(KEY)
    await asyncio.wait([task], timeout=1)
    assert task.cancelled()
