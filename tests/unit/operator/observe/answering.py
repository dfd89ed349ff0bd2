"""A server on loopback that answers as a test tells it to, and a revision whose pods all are that server."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web
from applying_cluster import revision

from viridian_operator.decide.observation import PodView
from viridian_operator.observe.checks.subject import PreviousRevision, Subject
from viridian_operator.observe.golden import Golden

REQUEST = {
    "inputs": [{"name": "user", "datatype": "BYTES", "shape": [2], "data": ["a", "b"]}],
    "outputs": [{"name": "probability", "datatype": "FP32", "shape": [2], "data": [0.25, 0.5]}],
}


class Server:
    """A server whose answers are set per path; counts connections."""

    def __init__(self) -> None:
        self.replies: dict[str, Any] = {}
        self.asked: list[tuple[str, Any]] = []
        self.connections: set[Any] = set()
        self.url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.connections.add(request.transport)
        text = await request.text()
        self.asked.append((request.path, text or dict(request.query)))
        reply = self.replies.get(request.path, (404, {}))
        if callable(reply):
            found: web.StreamResponse = await reply(request)
            return found
        status, body = reply
        return web.json_response(body, status=status)


async def hang(_request: web.Request) -> web.StreamResponse:
    """Never answer."""
    await asyncio.sleep(60)
    return web.Response()


def subject(server: Server, *, ready: int = 2, wanted: int = 2, golden: Golden | None = None) -> Subject:
    pods = tuple(
        PodView(f"p{n}", "hash1", "127.0.0.1", ready=n < ready, scheduled=True, restarts=1) for n in range(wanted)
    )
    return Subject(
        namespace="recsys",
        name="ctr",
        model="ctr",
        revision=revision(),
        pods=pods,
        wanted=wanted,
        restarts_before=1,
        addresses={pod.name: server.url for pod in pods},
        golden=golden,
    )


def previous(server: Server, *, golden: Golden | None = None) -> PreviousRevision:
    """The revision before, with one pod ``b0`` at ``server``; add its address to the subject's."""
    pod = PodView("b0", "hash0", "127.0.0.1", ready=True, scheduled=True)
    return PreviousRevision(revision(0), (pod,), golden)
