"""Makes the stand-ins importable by their names; a server that answers and a prober that asks."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from viridian_operator.observe.prober import Prober, probe_session

if TYPE_CHECKING:
    from answering import Server

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "act"))


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    from answering import Server

    served = Server()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", served.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    served.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield served
    await runner.cleanup()


@pytest.fixture
async def prober() -> AsyncIterator[Prober]:
    async with probe_session() as session:
        yield Prober(session)
