"""Watches passed on line by line, so that single events can be lost, repeated or put in another order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import aiohttp
from aiohttp import web

from faults.mischief import Events

#: an event that waits for the next one to overtake it is not kept for longer
_OVERTAKEN_WITHIN = 1.0


async def relay(request: web.Request, stream: aiohttp.ClientResponse, fault: Callable[[], str]) -> web.StreamResponse:
    """Pass ``stream`` on until one side ends; ``fault`` is asked for every event."""
    answer = web.StreamResponse(status=stream.status, headers={"Content-Type": "application/json"})
    await answer.prepare(request)
    last, held = b"", b""
    lines = stream.content
    while True:
        try:
            line = await asyncio.wait_for(lines.readline(), _OVERTAKEN_WITHIN if held else None)
        except TimeoutError:
            await answer.write(held)
            held = b""
            continue
        if not line:
            break
        match fault():
            case Events.DROP:
                continue
            case Events.REPLAY:
                await answer.write(line + last + line)
            case Events.REORDER if not held:
                held = line
                continue
            case _:
                await answer.write(line + held)
                held = b""
        last = line
    return answer
