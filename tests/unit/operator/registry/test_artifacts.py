"""Digests of versions that Viridian did not train, against a real MLflow server."""

from __future__ import annotations

import uuid
from typing import Any

import aiohttp
import pytest

from viridian_operator.api.follow import Follow
from viridian_operator.observe.registered import ask_registry
from viridian_operator.registry.mlflow import MlflowRegistry

API = "/api/2.0/mlflow"


class Trainer:
    """Somebody who trains elsewhere."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session, self._url, self.model = session, url, f"ranking-{uuid.uuid4().hex[:6]}"

    async def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        async with self._session.post(f"{self._url}{API}/{path}", json=body) as answer:
            assert answer.status == 200, await answer.text()
            return dict(await answer.json())

    async def run(self, files: dict[str, str]) -> dict[str, Any]:
        """A run with these artifacts."""
        info: dict[str, Any] = (await self.post("runs/create", {"experiment_id": "0"}))["run"]["info"]
        root = info["artifact_uri"].removeprefix("mlflow-artifacts:/")
        for path, text in files.items():
            address = f"{self._url}/api/2.0/mlflow-artifacts/artifacts/{root}/{path}"
            async with self._session.put(address, data=text.encode()) as answer:
                assert answer.status == 200, await answer.text()
        return info

    async def version(self, source: str, run: str, **more: str) -> str:
        await self._session.post(f"{self._url}{API}/registered-models/create", json={"name": self.model})
        body = {"name": self.model, "run_id": run, "source": source, **more}
        return str((await self.post("model-versions/create", body))["model_version"]["version"])


@pytest.fixture
def trainer(session: aiohttp.ClientSession, mlflow_url: str) -> Trainer:
    return Trainer(session, mlflow_url)


@pytest.fixture
def digest(session: aiohttp.ClientSession, mlflow_url: str, trainer: Trainer) -> Any:
    async def of(version: str) -> str:
        registry = MlflowRegistry(session, mlflow_url)

        async def connect() -> MlflowRegistry:
            return registry

        await registry.set_alias(trainer.model, "challenger", version)
        seen = await ask_registry(connect, trainer.model, follow=Follow(alias="challenger"))
        assert seen.followed and seen.followed.version == version, seen.error
        return seen.followed.digest

    return of


FILES = {"model/MLmodel": "flavors: {}", "model/data/weights.bin": "0123", "elsewhere/log.txt": "x"}


async def test_the_list_of_artifacts_is_pinned(trainer: Trainer, digest: Any) -> None:
    run = await trainer.run(FILES)
    first = await digest(await trainer.version(f"{run['artifact_uri']}/model", run["run_id"]))
    assert first.startswith("sha256:") and len(first) == 71
    assert first == await digest(await trainer.version(f"{run['artifact_uri']}/model", run["run_id"]))
    other = await trainer.run(FILES | {"model/data/weights.bin": "01234"})
    assert first != await digest(await trainer.version(f"{other['artifact_uri']}/model", other["run_id"]))


async def test_a_file_that_appears_later_is_noticed(trainer: Trainer, digest: Any) -> None:
    run = await trainer.run(FILES)
    version = await trainer.version(f"runs:/{run['run_id']}/model", run["run_id"])
    first = await digest(version)
    root = run["artifact_uri"].removeprefix("mlflow-artifacts:/")
    address = f"{trainer._url}/api/2.0/mlflow-artifacts/artifacts/{root}/model/more.bin"
    async with trainer._session.put(address, data=b"x") as answer:
        assert answer.status == 200
    assert first != await digest(version)


async def test_a_source_that_cannot_be_listed_gives_none(trainer: Trainer, digest: Any) -> None:
    run = await trainer.run({})
    assert await digest(await trainer.version(f"{run['artifact_uri']}/nothing-here", run["run_id"])) == ""


async def test_a_version_of_a_logged_model(trainer: Trainer, digest: Any, mlflow_url: str) -> None:
    made = await trainer.post("logged-models", {"experiment_id": "0", "name": "m"})
    info = made["model"]["info"]
    root = info["artifact_uri"].removeprefix("mlflow-artifacts:/")
    for path in ("MLmodel", "data/weights.bin"):
        address = f"{mlflow_url}/api/2.0/mlflow-artifacts/artifacts/{root}/{path}"
        async with trainer._session.put(address, data=b"x") as answer:
            assert answer.status == 200, await answer.text()
    found = await digest(await trainer.version(f"models:/{info['model_id']}", "", model_id=info["model_id"]))
    assert found.startswith("sha256:")


@pytest.mark.parametrize("follow", [Follow(alias="nobody"), Follow(version=99)])
async def test_what_is_not_there_is_said(
    session: aiohttp.ClientSession, mlflow_url: str, trainer: Trainer, follow: Follow
) -> None:
    async def connect() -> MlflowRegistry:
        return MlflowRegistry(session, mlflow_url)

    seen = await ask_registry(connect, trainer.model, follow=follow)
    assert (seen.unfollowed, seen.error) == (True, "")
