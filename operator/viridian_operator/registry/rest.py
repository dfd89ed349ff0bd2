"""JSON over HTTP with a time limit, bounded retries and typed errors."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
from yarl import URL

from viridian_operator.registry.errors import Invalid, NotFound, RegistryError, Unauthorized, Unavailable

#: Seconds for one try and for all of them; a pass that fails is repeated anyway.
TRY_TIMEOUT = 3.0
TOTAL_TIMEOUT = 5.0
FIRST_DELAY = 0.1


@dataclass(frozen=True)
class _Request:
    method: str
    url: URL
    query: Mapping[str, str] | None = None
    body: Mapping[str, str] | None = None


class Rest:
    """One server; all its calls may be repeated: they read, or write a value."""

    def __init__(self, session: aiohttp.ClientSession, uri: str, headers: Mapping[str, str], *, total: float) -> None:
        self._session, self._headers, self._total = session, headers, total
        try:
            self._base = URL(uri)
            # Credentials in an address would end up in messages.
            self._base = self._base.with_user(None) if self._base.host else self._base
        except ValueError as error:
            raise Invalid("the tracking URI is not an address; write for example http://mlflow:5000") from error
        self._name = f"the registry at {self._base}"

    async def read(self, path: str, query: Mapping[str, str]) -> dict[str, Any]:
        """The JSON object at ``path``."""
        text = await self.send("GET", path, query=query)
        try:
            parsed = json.loads(text)
        except ValueError:
            parsed = None
        if not isinstance(parsed, dict):
            raise Unavailable(f"{self._name} answered with something else than a JSON object; is it MLflow?")
        return parsed

    async def send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, str] | None = None,
    ) -> str:
        """The answer's text.

        Raises
        ------
        RegistryError
            One of its kinds; ``Unavailable`` only after the last try that fits into the total time.
        """
        request = _Request(method, self._base.joinpath(*path.split("/")), query, body)
        deadline, delay = time.monotonic() + self._total, FIRST_DELAY
        while True:
            try:
                return await self._try(request, min(TRY_TIMEOUT, deadline - time.monotonic()))
            except Unavailable:
                if time.monotonic() + delay >= deadline:
                    raise
            await asyncio.sleep(delay)
            delay *= 2

    async def _try(self, request: _Request, seconds: float) -> str:
        try:
            async with self._session.request(
                request.method,
                request.url,
                params=request.query,
                json=request.body,
                headers=self._headers,
                # A redirect could carry the credentials somewhere else.
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=seconds),
            ) as response:
                text = await response.text(errors="replace")
                status = response.status
        except TimeoutError as error:
            raise Unavailable(f"{self._name} did not answer within {seconds:.1f} s") from error
        except aiohttp.InvalidURL as error:
            raise Invalid("the tracking URI is not an address; write for example http://mlflow:5000") from error
        except (aiohttp.ClientError, OSError) as error:
            raise Unavailable(f"{self._name} cannot be reached: {error}") from error
        if status == 200:
            return text
        raise _error(status, text, self._name)


def _error(status: int, text: str, where: str) -> RegistryError:
    """``NotFound`` only for MLflow's own word on it: a bare 404 may come from a proxy or a wrong path."""
    try:
        said = json.loads(text)
        code, message = str(said["error_code"]), str(said.get("message") or said["error_code"])
    except (ValueError, KeyError, TypeError):
        code, message = "", text.strip()[:200] or f"HTTP status {status}"
    sentence = f"{where} says: {message}"
    if 300 <= status < 400:
        return Invalid(f"{where} redirects somewhere else; write the final address as tracking URI")
    if status in (401, 403):
        return Unauthorized(sentence)
    if code == "RESOURCE_DOES_NOT_EXIST":
        return NotFound(sentence)
    if status == 429 or status >= 500 or (status == 404 and not code):
        return Unavailable(sentence)
    return Invalid(sentence)
