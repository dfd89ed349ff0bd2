"""Identity and the calls of the operator."""

from __future__ import annotations

import asyncio
import hmac
import logging
from pathlib import Path

from aiohttp import web

from viridian_server.metrics import Metrics
from viridian_server.middleware import error
from viridian_server.state import ServerState

log = logging.getLogger(__name__)


class Admin:
    """Handlers of ``/viridian/v1``."""

    def __init__(self, state: ServerState, metrics: Metrics, token_file: Path) -> None:
        self._state, self._metrics, self._token_file = state, metrics, token_file

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.get("/viridian/v1/identity", self.identity),
            web.post("/viridian/v1/admin/retire", self.retire),
            web.post("/viridian/v1/admin/reinstate", self.reinstate),
        ]

    async def identity(self, _request: web.Request) -> web.Response:
        """Say what this pod serves; always 200."""
        return web.json_response(self._state.identity())

    async def retire(self, request: web.Request) -> web.Response:
        """Ask clients to go elsewhere from now on, and go on serving."""
        return await self._set_retired(request, True)

    async def reinstate(self, request: web.Request) -> web.Response:
        """Take `retire` back."""
        return await self._set_retired(request, False)

    async def _set_retired(self, request: web.Request, retired: bool) -> web.Response:
        if refusal := await self._refusal(request):
            return refusal
        if self._state.retired != retired:
            log.info("retired" if retired else "reinstated", extra={"version": self._state.revision.version})
        self._state.retired = retired
        self._metrics.retired.set(retired)
        return web.json_response(self._state.identity())

    async def _refusal(self, request: web.Request) -> web.Response | None:
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not given.strip():
            answer = error(401, "send Authorization: Bearer <token>")
            answer.headers["WWW-Authenticate"] = "Bearer"
            return answer
        # Read each time: a Secret may be rotated while the pod runs.
        token = await asyncio.to_thread(self._token)
        if not token or not hmac.compare_digest(given.strip().encode(), token):
            log.warning("admin call refused", extra={"path": request.path, "peer": request.remote})
            return error(403, "the token is not the one in the mounted Secret")
        return None

    def _token(self) -> bytes:
        try:
            return self._token_file.read_bytes().strip()
        except OSError:
            return b""
