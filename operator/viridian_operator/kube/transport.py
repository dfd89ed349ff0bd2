"""One request to the API server: time limit, bounded retries, typed errors, a count for every try."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import aiohttp
from kubernetes.aio.client import ApiException
from kubernetes.aio.dynamic import DynamicClient

from viridian_operator.kube.errors import ApiError, Unavailable, error_from
from viridian_operator.kube.resources import Manifest, Resource

#: Told of every try: verb, plural of the resource, HTTP status ("error" without one), seconds.
RequestObserver = Callable[[str, str, str, float], None]

FIRST_DELAY = 0.1
LONGEST_DELAY = 2.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Call:
    """A request, and whether sending it twice does the same as sending it once."""

    verb: str
    resource: Resource
    method: str
    path: str
    body: Manifest | None = None
    content_type: str = "application/json"
    query: tuple[tuple[str, str], ...] = ()
    idempotent: bool = True


def ignore_requests(_verb: str, _resource: str, _code: str, _seconds: float) -> None:
    """Count nothing."""


@dataclass(frozen=True, kw_only=True)
class Transport:
    """Sends calls.

    Parameters
    ----------
    timeout
        Seconds for one try, the body of the answer included.
    attempts
        Tries for an idempotent call; others are tried again only when the server cannot have acted.
    observe
        Told of every try.
    fence
        Called before every write; does not return when this process must not write any more.
    """

    client: DynamicClient
    timeout: float = 10.0
    attempts: int = 4
    observe: RequestObserver = ignore_requests
    fence: Callable[[], None] | None = None

    def within(self, *, timeout: float, attempts: int = 1) -> Transport:
        """The same connection with other limits."""
        return replace(self, timeout=timeout, attempts=attempts)

    def fenced(self, fence: Callable[[], None]) -> Transport:
        """The same connection with ``fence`` before every write."""
        return replace(self, fence=fence)

    async def send(self, call: Call) -> Manifest:
        """Send ``call`` until it is answered or its tries are used up.

        Raises
        ------
        ApiError
            One of its kinds; after the last try that of this try.
        """
        delay = FIRST_DELAY
        for _ in range(self.attempts - 1):
            try:
                return await self._try(call)
            except Unavailable as error:
                if not _may_repeat(call, error):
                    raise
                log.debug("%s %s: %s; trying again", call.verb, call.path, error)
                # Jitter spreads the workers that one outage hit at the same moment.
                wait = max(error.retry_after or 0.0, delay * random.uniform(0.5, 1.5))  # noqa: S311
                await asyncio.sleep(min(wait, LONGEST_DELAY))
                delay *= 2
        return await self._try(call)

    async def _try(self, call: Call) -> Manifest:
        if self.fence is not None and call.method != "GET":
            self.fence()
        started, code = time.monotonic(), "error"
        try:
            answer = await self._request(call)
            code = "200"
            return answer
        except ApiError as error:
            code = str(error.code) if error.code else "error"
            raise
        finally:
            self.observe(call.verb, call.resource.plural, code, time.monotonic() - started)

    async def _request(self, call: Call) -> Manifest:
        try:
            response = await self.client.request(
                call.method,
                call.path,
                body=call.body,
                content_type=call.content_type,
                query_params=list(call.query),
                serialize=False,
                _request_timeout=aiohttp.ClientTimeout(total=self.timeout),
            )
            answer: Manifest = await response.json()
            return answer
        except ApiException as error:
            raise error_from(error.status or 0, _text(error.body), error.headers) from None
        except aiohttp.ClientConnectorError as error:
            raise Unavailable(f"cannot connect to the API server: {error}", reason="NotSent") from error
        except TimeoutError as error:
            raise Unavailable(f"no answer from the API server within {self.timeout:g} s") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise Unavailable(f"the connection to the API server broke: {error!r}") from error


def _may_repeat(call: Call, error: Unavailable) -> bool:
    """404 of a kind that is not served stays so for longer than our tries last."""
    if error.code == 404:
        return False
    return call.idempotent or error.code == 429 or error.reason == "NotSent"


def _text(body: Any) -> str:
    return body.decode(errors="replace") if isinstance(body, bytes) else str(body or "")
