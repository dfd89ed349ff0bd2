from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from http_server import answering
from kubernetes.aio.client import Configuration
from scripted_server import ScriptedServer

from viridian_operator.kube.cluster import ApiCluster


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    scripted = ScriptedServer()
    async with answering(scripted.handle) as scripted.url:
        yield scripted
        if scripted.hang:
            scripted.hang.set()


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
