"""The proxy does to requests what it is told, to those it is told, and nothing to others."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from apiserver import ApiServer

from faults.mischief import Do, Events, Fault, WatchFault, Where
from faults.proxy import Proxy
from viridian_operator.kube.access import load_access
from viridian_operator.kube.cluster import ApiCluster
from viridian_operator.kube.errors import ApiError, Conflict, Forbidden, Invalid, NotFound, Unavailable
from viridian_operator.kube.resources import CONFIG_MAP

pytestmark = pytest.mark.api
WRITES = Where(resource="configmaps", steps=True)
READS = Where(resource="configmaps", reads=True)


@pytest.fixture
async def client(bare_proxy: Proxy) -> AsyncIterator[ApiCluster]:
    """The operator's own client, which sends everything once."""
    cluster = ApiCluster.connect(await load_access(str(bare_proxy.kubeconfig)), attempts=1, timeout=5)
    yield cluster
    await cluster.close()


def _map(name: str, text: str = "1") -> dict[str, Any]:
    metadata = {"namespace": "default", "name": name}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"text": text}}


async def _text(client: ApiCluster, name: str) -> str:
    return (await client.get(CONFIG_MAP, "default", name))["data"]["text"]


@pytest.mark.parametrize(
    ("code", "error"),
    [(403, Forbidden), (409, Conflict), (422, Invalid), (429, Unavailable), (500, Unavailable), (503, Unavailable)],
)
async def test_it_answers_the_nth_call_with_an_error(bare_proxy: Proxy, client: ApiCluster, code, error) -> None:
    with bare_proxy.disturbed(Fault(Do.ANSWER, WRITES, nth=2, code=code)):
        await client.apply(_map(f"code-{code}", "1"))
        with pytest.raises(error):
            await client.apply(_map(f"code-{code}", "2"))
        assert await _text(client, f"code-{code}") == "1"
        await client.apply(_map(f"code-{code}", "3"))
    assert await _text(client, f"code-{code}") == "3"


async def test_a_lost_reply_was_applied(bare_proxy: Proxy, client: ApiCluster) -> None:
    with bare_proxy.disturbed(Fault(Do.LOSE_REPLY, WRITES)), pytest.raises(Unavailable):
        await client.apply(_map("lost"))
    assert await _text(client, "lost") == "1"


async def test_a_cut_call_was_not_applied(bare_proxy: Proxy, client: ApiCluster) -> None:
    with bare_proxy.disturbed(Fault(Do.CUT, WRITES)), pytest.raises(Unavailable):
        await client.apply(_map("cut"))
    with pytest.raises(NotFound):
        await client.get(CONFIG_MAP, "default", "cut")


async def test_a_stale_read_gives_the_previous_answer(bare_proxy: Proxy, client: ApiCluster) -> None:
    await client.apply(_map("stale", "1"))
    assert await _text(client, "stale") == "1"
    await client.apply(_map("stale", "2"))
    with bare_proxy.disturbed(Fault(Do.STALE, READS)):
        assert [await _text(client, "stale"), await _text(client, "stale")] == ["1", "2"]


async def test_a_delayed_call_takes_longer(bare_proxy: Proxy, client: ApiCluster) -> None:
    begun = time.monotonic()
    with bare_proxy.disturbed(Fault(Do.DELAY, WRITES, seconds=0.5)):
        await client.apply(_map("late"))
    assert time.monotonic() - begun >= 0.5


async def test_a_held_call_is_applied_and_waits(bare_proxy: Proxy, client: ApiCluster, apiserver: ApiServer) -> None:
    fault = Fault(Do.HOLD, WRITES)
    with bare_proxy.disturbed(fault):
        call = asyncio.create_task(client.apply(_map("held")))
        assert await asyncio.to_thread(fault.happened.wait, 5)
        assert apiserver.request("GET", "/api/v1/namespaces/default/configmaps/held")["data"]["text"] == "1"
        assert not call.done()
    with pytest.raises(Unavailable):
        await call


async def test_nothing_is_answered_while_it_is_away(bare_proxy: Proxy, client: ApiCluster) -> None:
    with bare_proxy.away(), pytest.raises(ApiError):
        await client.list(CONFIG_MAP, "default")
    await client.list(CONFIG_MAP, "default")


async def test_calls_are_logged_with_what_they_mean(bare_proxy: Proxy, client: ApiCluster) -> None:
    await client.apply(_map("logged"))
    await client.list(CONFIG_MAP, "default")
    await client.delete(CONFIG_MAP, "default", "logged")
    told = [(call.verb, call.resource, call.name, call.step) for call in bare_proxy.calls]
    assert told == [
        ("patch", "configmaps", "logged", True),
        ("list", "configmaps", "", False),
        ("delete", "configmaps", "logged", True),
    ]


@pytest.mark.parametrize(
    ("do", "wanted"),
    [
        (None, ["1", "2", "3", "end"]),
        (Events.DROP, ["3", "end"]),
        (Events.REPLAY, ["1", "1", "2", "1", "2", "3", "end"]),
        (Events.REORDER, ["2", "1", "3", "end"]),
    ],
)
async def test_events_of_watches(bare_proxy: Proxy, client: ApiCluster, do: Events | None, wanted: list[str]) -> None:
    name = f"watched-{do or 'plain'}"
    base = bare_proxy.kubeconfig.read_text().split("server: ")[1].split()[0]
    version = (await client.apply(_map(name, "0")))["metadata"]["resourceVersion"]
    url = f"{base}/api/v1/namespaces/default/configmaps?watch=true&resourceVersion={version}"
    url += f"&fieldSelector=metadata.name%3D{name}"
    faults = [WatchFault(do, "configmaps", times=1 if do is Events.REORDER else 2)] if do else []
    seen: list[str] = []
    async with aiohttp.ClientSession() as session, session.get(url) as stream:
        with bare_proxy.disturbed(*faults):
            for text in ("1", "2", "3", "end"):
                await client.apply(_map(name, text))
            async for line in stream.content:
                seen.append(json.loads(line)["object"]["data"]["text"])
                if seen[-1] == "end":
                    break
    assert seen == wanted
