"""Identity and the calls of the operator."""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

from aiohttp import web
from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from viridian_model.publication.head import HeadError
from viridian_model.publication.links import BrokenLink
from viridian_model.store import StoreError
from viridian_server.metrics import Metrics
from viridian_server.middleware import error
from viridian_server.revision import Digest, Revision, Text, first_problem
from viridian_server.staging import Stager
from viridian_server.state import ServerState

log = logging.getLogger(__name__)

Call = Callable[[web.Request], Awaitable[web.Response]]


class Stage(BaseModel):
    """Body of ``stage``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Text
    digest: Digest
    eventTime: float | None = None
    golden: dict[str, Any] | None = None


class Flip(BaseModel):
    """Body of ``flip``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    digest: Digest


class Revert(BaseModel):
    """Body of ``revert``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    to: Annotated[str, StringConstraints(pattern=r"^(anchor|\d+\.\d+)$")]
    reason: Text


class Admin:
    """Handlers of ``/viridian/v1``."""

    def __init__(self, state: ServerState, metrics: Metrics, token_file: Path, stager: Stager) -> None:
        self._state, self._metrics, self._token_file, self._stager = state, metrics, token_file, stager

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        calls = (self.retire, self.reinstate, self.stage, self.flip, self.unstage, self.revert)
        return [
            web.get("/viridian/v1/identity", self.identity),
            *(web.post(f"/viridian/v1/admin/{call.__name__}", self._authorized(call)) for call in calls),
        ]

    async def identity(self, _request: web.Request) -> web.Response:
        """Say what this pod serves; always 200."""
        return self._answer()

    async def retire(self, _request: web.Request) -> web.Response:
        """Ask clients to go elsewhere from now on, and go on serving."""
        return self._set_retired(True)

    async def reinstate(self, _request: web.Request) -> web.Response:
        """Take `retire` back."""
        return self._set_retired(False)

    async def stage(self, request: web.Request) -> web.Response:
        """Load a version beside what answers; 202, the rest stands in ``residents``."""
        wanted = await _body(request, Stage)
        if self._state.following is not None:
            return error(409, "this pod follows the head of a store; publish there, or revert")
        if self._state.snapshot is None:
            return error(503, "nothing is served yet that another version could be staged beside", retry_after=1)
        model = self._state.revision.model
        if not self._stager.stage(Revision(model, wanted.version, wanted.digest, wanted.eventTime, wanted.golden)):
            return error(409, "another digest is being staged; wait for it, or unstage it first")
        return self._answer(202)

    async def flip(self, request: web.Request) -> web.Response:
        """Let a resident answer from the next request on."""
        wanted = await _body(request, Flip)
        if not self._stager.flip(wanted.digest):
            return error(409, f"no verified resident has the digest {wanted.digest}; stage it and wait for Ready")
        return self._answer()

    async def unstage(self, _request: web.Request) -> web.Response:
        """Give up what is staged."""
        self._stager.unstage()
        return self._answer()

    async def revert(self, request: web.Request) -> web.Response:
        """Let an older state of the chain answer, and make it the head of the store."""
        wanted = await _body(request, Revert)
        following = self._state.following
        if following is None or self._state.snapshot is None:
            return error(409, "this pod follows no store; flip to Previous instead")
        try:
            recorded = await asyncio.to_thread(following.revert, wanted.to, wanted.reason)
        except (HeadError, BrokenLink) as problem:
            return error(409, str(problem))
        except StoreError as problem:
            return error(503, f"{wanted.to} is not in memory, and the store cannot be asked: {problem}", retry_after=1)
        return web.json_response(self._state.identity() | {"recorded": recorded})

    def _answer(self, status: int = 200) -> web.Response:
        return web.json_response(self._state.identity(), status=status)

    def _set_retired(self, retired: bool) -> web.Response:
        if self._state.retired != retired:
            log.info("retired" if retired else "reinstated", extra={"version": self._state.revision.version})
        self._state.retired = retired
        self._metrics.retired.set(retired)
        return self._answer()

    def _authorized(self, call: Call) -> Call:
        async def checked(request: web.Request) -> web.Response:
            return await self._refusal(request) or await call(request)

        return checked

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


async def _body[Body: BaseModel](request: web.Request, kind: type[Body]) -> Body:
    """Parse the body of a call; HTTP 400 says what is wrong."""
    try:
        return kind.model_validate_json(await request.read())
    except ValidationError as problem:
        text = f"{first_problem(problem)}; send JSON with {', '.join(kind.model_fields)}"
        raise web.HTTPBadRequest(reason=" ".join(text.split())) from None
