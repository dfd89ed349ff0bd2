from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from kubernetes.aio.client import Configuration
from scripted_server import ScriptedServer

from viridian_operator.kube.cluster import ApiCluster


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    scripted = ScriptedServer()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", scripted.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    scripted.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield scripted
    if scripted.hang:
        scripted.hang.set()
    await runner.cleanup()


@pytest.fixture
def counted() -> list[tuple[str, str, str]]:
    return []


@pytest.fixture
async def cluster(server: ScriptedServer, counted: list[tuple[str, str, str]]) -> AsyncIterator[ApiCluster]:
    client = ApiCluster.connect(
        Configuration(host=server.url),
        timeout=0.5,
        attempts=3,
        observe=lambda verb, resource, code, _: counted.append((verb, resource, code)),
    )
    yield client
    await client.close()
    await asyncio.sleep(0)
