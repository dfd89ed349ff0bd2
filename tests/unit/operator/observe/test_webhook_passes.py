"""A real MLflow tells of an alias by its own webhook, and who follows it looks at once."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from mlflow import MlflowClient
from passes import KEY
from test_following_passes import Following

from viridian_operator.runtime import reconcile
from viridian_operator.runtime.webhook import PATH, WebhookServer

SECRET = "only MLflow and we know it"


class Receiving(Following):
    """Follows an alias, polls it every hour, and has an endpoint."""

    def __init__(self, url: str, session: aiohttp.ClientSession, secret: Path) -> None:
        super().__init__(url, session)
        manifest = self.cluster.objects["ModelUpdate", "ctr"]
        manifest["spec"]["follow"]["pollInterval"] = "1h"
        self.results: list[str] = []
        self.leads = True
        self.server = WebhookServer(
            host="127.0.0.1",
            port=0,
            secret=secret,
            leading=lambda: self.leads,
            hint=self.reconciler.hint,
            count=self.results.append,
        )
        self.address = ""

    async def hook(self, secret: str, event: str = "model_version_alias.created") -> None:
        """Have MLflow send its webhooks here."""
        client, name = MlflowClient(self.url), uuid.uuid4().hex
        await asyncio.to_thread(client.create_webhook, name, self.address, [event], secret=secret)


@pytest.fixture
async def receiving(mlflow_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Receiving]:
    monkeypatch.setattr(reconcile, "problems", lambda *_: [])
    secret = tmp_path / "secret"
    secret.write_text(SECRET + "\n")
    async with aiohttp.ClientSession() as session:
        made = Receiving(mlflow_url, session, secret)
        made.address = f"http://127.0.0.1:{await made.server.start()}{PATH}"
        yield made
        client = MlflowClient(mlflow_url)
        for each in await asyncio.to_thread(client.list_webhooks):
            await asyncio.to_thread(client.delete_webhook, each.webhook_id)
        await made.server.stop()
        await made.reconciler.aclose()


async def counted(receiving: Receiving, result: str) -> None:
    async with asyncio.timeout(30):
        while result not in receiving.results:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_an_alias_that_moves_is_told_by_mlflow_itself(receiving: Receiving) -> None:
    await receiving.hook(SECRET)
    await receiving.reconciler(KEY)
    version = await receiving.publish()
    async with asyncio.timeout(30):
        assert await receiving.woken.get() == KEY
    assert receiving.results == ["accepted"]
    await receiving.reconciler(KEY)
    update = receiving.cluster.status.update
    assert update and update.candidate and update.candidate.version == version


async def test_a_wrong_signature_is_counted_and_wakes_nobody(receiving: Receiving) -> None:
    await receiving.hook("something else")
    await receiving.reconciler(KEY)
    await receiving.publish()
    await counted(receiving, "refused")
    async with receiving.session.post(receiving.address, data=b"{}") as answer:
        assert answer.status == 401
    looks = receiving.reconciler.aliases._watches[KEY].next_at
    assert receiving.woken.empty()
    assert looks > receiving.reconciler.aliases._clock() + 3000, "the alias is looked at when it was planned to be"


async def test_a_hint_that_is_none_costs_one_look_at_the_registry_and_no_pass(receiving: Receiving) -> None:
    await receiving.hook(SECRET, "model_version.created")
    await receiving.reconciler(KEY)
    reads = receiving.cluster.reads
    await receiving.register()
    await counted(receiving, "accepted")
    await asyncio.sleep(0.2)
    assert receiving.woken.empty()
    assert receiving.cluster.reads == reads


async def test_a_standby_asks_to_try_again_and_remembers_nothing(receiving: Receiving) -> None:
    receiving.leads = False
    async with receiving.session.post(receiving.address, data=b"{}") as answer:
        assert (answer.status, answer.headers["Connection"]) == (503, "close")
    await receiving.hook(SECRET)
    await receiving.reconciler(KEY)
    await receiving.publish()
    await counted(receiving, "standby")
    receiving.leads = True
    await counted(receiving, "accepted")  # MLflow's own retry


async def test_other_paths_methods_and_sizes_are_refused(receiving: Receiving) -> None:
    async with receiving.session.get(receiving.address) as answer:
        assert answer.status == 405
    async with receiving.session.post(receiving.address + "/more") as answer:
        assert answer.status == 404
    async with receiving.session.post(receiving.address, data=b"x" * 300_000) as answer:
        assert answer.status == 413
    assert receiving.results == []


async def test_without_a_secret_nothing_is_received(tmp_path: Path) -> None:
    def server(secret: Path) -> WebhookServer:
        return WebhookServer(host="127.0.0.1", port=0, secret=secret, leading=lambda: True, hint=print, count=print)

    with pytest.raises(OSError):
        await server(tmp_path / "missing").start()
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(OSError, match="empty"):
        await server(tmp_path / "empty").start()


async def test_who_waits_for_a_version_by_its_number_looks(receiving: Receiving) -> None:
    follow = receiving.cluster.objects["ModelUpdate", "ctr"]["spec"]["follow"]
    del follow["alias"]
    follow["version"] = 1
    await receiving.hook(SECRET, "model_version.created")
    await receiving.reconciler(KEY)
    await receiving.register()
    async with asyncio.timeout(30):
        assert await receiving.woken.get() == KEY
