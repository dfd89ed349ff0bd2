"""Open Inference Protocol v2 over HTTP."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version

from aiohttp import web

from viridian_server.inference import BadRequest, answer
from viridian_server.metrics import Metrics
from viridian_server.middleware import SNAPSHOT, error
from viridian_server.snapshot import Snapshot
from viridian_server.state import ServerState

log = logging.getLogger(__name__)


class OpenInference:
    """Handlers of ``/v2``."""

    def __init__(self, state: ServerState, metrics: Metrics, *, threads: int, max_in_flight: int) -> None:
        self._state, self._metrics, self._max_in_flight = state, metrics, max_in_flight
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="inference")
        self._in_flight = 0

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        routes = [
            web.get("/v2/health/live", self.live),
            web.get("/v2/health/ready", self.ready),
            web.get("/v2", self.server_metadata),
        ]
        for model in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
            routes += [
                web.get(model, self.model_metadata),
                web.get(f"{model}/ready", self.model_ready),
                web.post(f"{model}/infer", self.infer),
            ]
        return routes

    async def live(self, _request: web.Request) -> web.Response:
        """The process answers, and is not damaged for good; nothing else counts."""
        return web.Response() if self._state.alive else web.Response(status=503)

    async def ready(self, _request: web.Request) -> web.Response:
        """200 only if the model is loaded, verified, warmed up and not draining."""
        return web.Response() if self._state.ready else self._not_ready()

    async def server_metadata(self, _request: web.Request) -> web.Response:
        """Describe the server."""
        return web.json_response({"name": "viridian", "version": _version(), "extensions": []})

    async def model_metadata(self, request: web.Request) -> web.Response:
        """Describe the model from its manifest."""
        snapshot = self._find(request)
        if isinstance(snapshot, web.Response):
            return snapshot
        signature = snapshot.manifest.signature.model_dump(mode="json")
        about = {"name": snapshot.name, "versions": [snapshot.version], "platform": "viridian"}
        return web.json_response(about | signature)

    async def model_ready(self, request: web.Request) -> web.Response:
        """Like `ready`, for the model or the version of the path."""
        snapshot = self._find(request)
        if isinstance(snapshot, web.Response):
            return snapshot
        return web.Response() if self._state.ready else self._not_ready()

    async def infer(self, request: web.Request) -> web.Response:
        """Answer in the thread pool; a draining or retired server still answers."""
        snapshot = self._find(request)
        if isinstance(snapshot, web.Response):
            return snapshot
        if status := self._state.injected_status:
            return error(status, "a fault was injected")
        if self._in_flight >= self._max_in_flight:
            return error(503, f"{self._in_flight} requests are in flight; try again", retry_after=1)
        self._in_flight += 1
        try:
            body = await request.read()
            delay = self._state.injected_delay
            loop = asyncio.get_running_loop()
            payload = await loop.run_in_executor(self._pool, answer, snapshot, body, delay)
        except BadRequest as bad:
            return error(400, str(bad))
        finally:
            self._in_flight -= 1
        return web.Response(body=payload, content_type="application/json")

    def _find(self, request: web.Request) -> Snapshot | web.Response:
        """Return the snapshot that the path names, or the answer that there is none."""
        wanted, snapshot = self._state.revision, request[SNAPSHOT]
        model, version = request.match_info["model"], request.match_info.get("version")
        if model != wanted.model:
            return error(404, f"there is no model {model!r} here; this server has {wanted.model!r}")
        served = snapshot.version if snapshot else wanted.version
        if version is not None and version != served:
            return error(404, f"version {version!r} of {model!r} is not here; this server has {served!r}")
        return snapshot or self._not_ready()

    def _not_ready(self) -> web.Response:
        why = "draining" if self._state.draining else f"in phase {self._state.phase}"
        return error(503, f"the server is {why}", retry_after=1)


def _version() -> str:
    try:
        return version("viridian")
    except PackageNotFoundError:
        return "unknown"
