"""The client against a real MLflow server."""

from __future__ import annotations

import uuid

import aiohttp
import pytest

from viridian_operator.registry.errors import Invalid, NotFound
from viridian_operator.registry.mlflow import MlflowRegistry

API = "/api/2.0/mlflow"


@pytest.fixture
def registry(session: aiohttp.ClientSession, mlflow_url: str) -> MlflowRegistry:
    return MlflowRegistry(session, mlflow_url)


async def register(session: aiohttp.ClientSession, mlflow_url: str, model: str, **tags: str) -> str:
    """A version with these tags, as a trainer registers it."""
    await session.post(f"{mlflow_url}{API}/registered-models/create", json={"name": model})
    async with session.post(f"{mlflow_url}{API}/runs/create", json={"experiment_id": "0"}) as answer:
        run = (await answer.json())["run"]["info"]
    body = {
        "name": model,
        "run_id": run["run_id"],
        "source": f"{run['artifact_uri']}/bundle",
        "tags": [{"key": f"viridian.{key}", "value": value} for key, value in tags.items()],
    }
    async with session.post(f"{mlflow_url}{API}/model-versions/create", json=body) as answer:
        assert answer.status == 200, await answer.text()
        return str((await answer.json())["model_version"]["version"])


@pytest.fixture
def model() -> str:
    return f"ctr-{uuid.uuid4().hex[:6]}"


async def test_a_version_is_found_by_the_update_that_made_it(registry, session, mlflow_url, model) -> None:
    await register(session, mlflow_url, model, update="uid-1/1", digest="sha256:aa")
    second = await register(session, mlflow_url, model, update="uid-1/2", digest="sha256:bb")
    found = await registry.version_by_update(model, "uid-1/2")
    assert (found.version, found.tags["viridian.digest"], found.status) == (second, "sha256:bb", "READY")
    assert await registry.version_by_update(model, "uid-1/3") is None
    assert await registry.version_by_update(f"no-{model}", "uid-1/2") is None


async def test_the_newest_of_several_counts_by_number_not_by_text(registry, session, mlflow_url, model) -> None:
    for _ in range(11):
        newest = await register(session, mlflow_url, model, update="uid-2/1")
    assert newest == "11"
    assert (await registry.version_by_update(model, "uid-2/1")).version == "11"


async def test_a_version_by_number(registry, session, mlflow_url, model) -> None:
    number = await register(session, mlflow_url, model, update="u/1", window='{"from":{},"to":{}}')
    version = await registry.version(model, int(number))
    assert version.tags["viridian.window"] == '{"from":{},"to":{}}'
    with pytest.raises(NotFound):
        await registry.version(model, 999)
    with pytest.raises(NotFound):
        await registry.version(f"no-{model}", 1)


async def test_aliases_move_and_go(registry, session, mlflow_url, model) -> None:
    first = await register(session, mlflow_url, model)
    second = await register(session, mlflow_url, model)
    assert await registry.aliases(model) == {}
    await registry.set_alias(model, "champion", first)
    await registry.set_alias(model, "champion", second)
    await registry.set_alias(model, "previous", first)
    assert await registry.aliases(model) == {"champion": second, "previous": first}
    await registry.delete_alias(model, "previous")
    await registry.delete_alias(model, "previous")
    assert await registry.aliases(model) == {"champion": second}
    with pytest.raises(NotFound):
        await registry.set_alias(model, "champion", "999")
    with pytest.raises(NotFound):
        await registry.aliases(f"no-{model}")


async def test_an_alias_that_mlflow_does_not_allow(registry, session, mlflow_url, model) -> None:
    number = await register(session, mlflow_url, model)
    with pytest.raises(Invalid):
        await registry.set_alias(model, "latest", number)


async def test_a_tag_is_written_and_overwritten(registry, session, mlflow_url, model) -> None:
    number = await register(session, mlflow_url, model)
    await registry.set_version_tag(model, number, "viridian.verdict", "Pass")
    await registry.set_version_tag(model, number, "viridian.verdict", 'Reject: worse by 1 % ("it\'s")')
    assert (await registry.version(model, number)).tags["viridian.verdict"] == 'Reject: worse by 1 % ("it\'s")'
    with pytest.raises(NotFound):
        await registry.set_version_tag(model, "999", "a", "b")


@pytest.mark.parametrize("name", ["o'brien", 'say "hi"', "with space", "ünï", "a/b"])
async def test_names_with_odd_characters(registry, session, mlflow_url, name) -> None:
    model = f"{name} {uuid.uuid4().hex[:6]}".replace("/", "-")
    number = await register(session, mlflow_url, model, update="u/1")
    assert (await registry.version_by_update(model, "u/1")).version == number


async def test_what_cannot_be_asked_is_said(registry) -> None:
    with pytest.raises(Invalid, match="quotation marks"):
        await registry.version_by_update("""o'brien "x\"""", "u/1")


async def test_health(registry) -> None:
    await registry.health()


async def test_an_address_with_a_path_or_a_slash(session, mlflow_url, model) -> None:
    number = await register(session, mlflow_url, model)
    assert (await MlflowRegistry(session, f"{mlflow_url}/").version(model, number)).version == number


async def test_versions_are_listed_and_deleted_with_their_runs(registry, session, mlflow_url, model) -> None:
    one = await register(session, mlflow_url, model, update="u/1")
    two = await register(session, mlflow_url, model, update="u/2")
    assert {version.version for version in await registry.versions(model)} == {one, two}
    run = (await registry.version(model, one)).run_id
    await registry.delete_version(model, one)
    await registry.delete_version(model, one)
    assert [version.version for version in await registry.versions(model)] == [two]
    async with session.get(f"{mlflow_url}{API}/runs/get", params={"run_id": run}) as answer:
        assert (await answer.json())["run"]["info"]["lifecycle_stage"] == "deleted"
    assert await registry.versions(f"no-{model}") == []


async def test_a_version_that_an_alias_names_is_not_deleted(registry, session, mlflow_url, model) -> None:
    number = await register(session, mlflow_url, model)
    await registry.set_alias(model, "shadow", number)
    with pytest.raises(Invalid, match="named by an alias"):
        await registry.delete_version(model, number)
    assert (await registry.version(model, number)).version == number
