"""Short HTTP questions to pods, Services and Prometheus; no answer is a value, not an error."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp

TIMEOUT = 2.0
AT_ONCE = 32
_LARGEST = 1 << 20


@dataclass(frozen=True)
class Answer:
    """What came back within ``seconds``, or why nothing did (``problem``)."""

    status: int = 0
    text: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""
    seconds: float = 0.0
    timed_out: bool = False

    def json(self) -> Any:
        """The body; None if it is not JSON."""
        try:
            return json.loads(self.text)
        except ValueError:
            return None


def probe_session() -> aiohttp.ClientSession:
    """A session that opens a connection for every question.

    A kept connection to a Service would go on talking to the pod that it was opened to.
    """
    connector = aiohttp.TCPConnector(force_close=True, limit=0, ttl_dns_cache=30)
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())


class Prober:
    """Asks many at the same time, but not too many.

    Parameters
    ----------
    session
        From ``probe_session``.
    """

    def __init__(self, session: aiohttp.ClientSession, *, at_once: int = AT_ONCE) -> None:
        self._session = session
        self._gate = asyncio.Semaphore(at_once)

    async def ask(
        self,
        url: str,
        *,
        body: Any = None,
        query: Mapping[str, str] | None = None,
        seconds: float = TIMEOUT,
    ) -> Answer:
        """GET, or POST of ``body`` as JSON; never raises for what the other side does or fails to do."""
        method = "GET" if body is None else "POST"
        limit = aiohttp.ClientTimeout(total=seconds)
        async with self._gate:
            started = time.monotonic()
            try:
                async with self._session.request(
                    method, url, json=body, params=query, timeout=limit, allow_redirects=False
                ) as answer:
                    raw = await _read(answer)
                    text, took = raw.decode(errors="replace"), time.monotonic() - started
                    return Answer(answer.status, text, dict(answer.headers.items()), seconds=took)
            except TimeoutError:
                return Answer(problem=f"no answer within {seconds:g} s", seconds=seconds, timed_out=True)
            except (aiohttp.ClientError, OSError, ValueError) as error:
                return Answer(problem=f"{type(error).__name__}: {error}"[:200])


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    """At most a megabyte; what is longer is cut and then fails to parse."""
    raw = bytearray()
    async for chunk in answer.content.iter_chunked(65536):
        raw += chunk
        if len(raw) > _LARGEST:
            break
    return bytes(raw)
