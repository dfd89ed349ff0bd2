"""Whole passes of a ModelUpdate that follows an alias of a real MLflow: woken when it moves, silent before."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
import pytest
from applying_cluster import body, spec
from passes import KEY, StatusCluster, reconciler

from viridian_operator.api.status import Kind, Phase
from viridian_operator.kube.resources import Key
from viridian_operator.runtime import reconcile

API = "/api/2.0/mlflow"


class Following:
    """The reconciler, a registry, and somebody who trains elsewhere."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.cluster, self.woken = StatusCluster(), asyncio.Queue[Key]()
        self.url, self.session, self.model = url, session, f"ranking-{uuid.uuid4().hex[:6]}"
        self.reconciler = reconciler(self.cluster, self.woken.put_nowait)
        wanted = spec(
            model={"name": self.model},
            registry={"trackingURI": url},
            strategy="Registry",
            follow={"alias": "challenger", "pollInterval": "1s"},
            data=None,
            training=None,
        )
        self.cluster.put({**body(), "metadata": body()["metadata"] | {"resourceVersion": "1"}, "spec": wanted.wire()})

    async def post(self, path: str, content: Mapping[str, Any]) -> Any:
        async with self.session.post(f"{self.url}{API}/{path}", json=content) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def publish(self) -> str:
        """Register a version and let the alias name it."""
        version = await self.register()
        await self.post("registered-models/alias", {"name": self.model, "alias": "challenger", "version": version})
        return version

    async def register(self) -> str:
        """A version that no alias names."""
        await self.session.post(f"{self.url}{API}/registered-models/create", json={"name": self.model})
        run = (await self.post("runs/create", {"experiment_id": "0"}))["run"]["info"]
        tags = [{"key": "viridian.digest", "value": f"sha256:{uuid.uuid4().hex * 2}"}]
        content = {"name": self.model, "run_id": run["run_id"], "source": run["artifact_uri"], "tags": tags}
        return str((await self.post("model-versions/create", content))["model_version"]["version"])


@pytest.fixture
async def following(mlflow_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Following]:
    monkeypatch.setattr(reconcile, "problems", lambda *_: [])  # it polls more often than is allowed
    async with aiohttp.ClientSession() as session:
        made = Following(mlflow_url, session)
        yield made
        await made.reconciler.aclose()


async def test_an_alias_that_moves_wakes_and_starts_an_update_and_nothing_reads_the_cluster_before(
    following: Following,
) -> None:
    await following.reconciler(KEY)
    assert following.cluster.status.update is None
    assert {c.reason for c in following.cluster.status.conditions if c.type == "Stalled"} == {"NothingToFollow"}
    reads = following.cluster.reads
    version = await following.publish()
    async with asyncio.timeout(30):
        assert await following.woken.get() == KEY
    assert following.cluster.reads == reads, "a poll reads the registry only"
    await following.reconciler(KEY)
    update = following.cluster.status.update
    assert update and update.candidate
    assert (update.kind, update.phase, update.candidate.version) == (Kind.FOLLOW, Phase.PREPARING, version)
    await following.reconciler(KEY)
    assert any(name.startswith("ctr-") for name in following.cluster.names("Deployment"))
