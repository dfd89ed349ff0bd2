"""Telling serving pods that callers should leave them, or may stay."""

from __future__ import annotations

import asyncio

import aiohttp

from viridian_operator.act.children import Children
from viridian_operator.act.manifests.owner import Owner
from viridian_operator.act.manifests.secret import token_of
from viridian_operator.api.children import serving_port
from viridian_operator.api.names import admin_secret
from viridian_operator.decide.decision import Retire
from viridian_operator.kube.resources import SECRET

_TIMEOUT = aiohttp.ClientTimeout(total=2)
_AT_ONCE = 32


async def retire(
    children: Children, owner: Owner, action: Retire, session: aiohttp.ClientSession, *, port: int
) -> list[str]:
    """Call every pod (``action.pods`` are IPs) at the same time; what did not work is returned, one line per pod.

    Parameters
    ----------
    port
        Where a pod listens that does not say so itself.
    """
    secret = await children.find(SECRET, admin_secret(owner.name))
    token = token_of(secret) if secret and children.owns(secret) else None
    if token is None:
        return [f"Secret {admin_secret(owner.name)} holds no token for the admin calls"]
    verb = "retire" if action.retired else "reinstate"
    ports = {
        pod["status"]["podIP"]: serving_port(pod["spec"], port)
        for pod in children.pods()
        if (pod.get("status") or {}).get("podIP")
    }
    gate = asyncio.Semaphore(_AT_ONCE)

    async def call(ip: str) -> str:
        host = f"[{ip}]" if ":" in ip else ip
        url = f"http://{host}:{ports.get(ip, port)}/viridian/v1/admin/{verb}"
        async with gate:
            return await _post(session, url, token)

    answers = await asyncio.gather(*(call(ip) for ip in action.pods))
    return [answer for answer in answers if answer]


async def _post(session: aiohttp.ClientSession, url: str, token: str) -> str:
    headers = {"Authorization": f"Bearer {token}"}
    try:
        async with session.post(url, headers=headers, timeout=_TIMEOUT, allow_redirects=False) as answer:
            return "" if answer.status < 300 else f"{url} answered {answer.status}"
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        return f"{url} did not answer: {type(error).__name__}"
