"""Makes the stand-ins importable by their names; a server that answers and a prober that asks."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from http_server import answering

from viridian_operator.observe.prober import Prober, probe_session

if TYPE_CHECKING:
    from answering import Server

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "act"))


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    from answering import Server

    served = Server()
    async with answering(served.handle) as served.url:
        yield served


@pytest.fixture
async def prober() -> AsyncIterator[Prober]:
    async with probe_session() as session:
        yield Prober(session)
