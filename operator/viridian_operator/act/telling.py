"""Admin calls: telling serving pods that callers should leave them, and which version to load or to serve."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import aiohttp

from viridian_operator.act.children import Children
from viridian_operator.act.manifests.owner import Owner
from viridian_operator.act.manifests.revision import NO_GOLDEN
from viridian_operator.act.manifests.secret import token_of
from viridian_operator.api.children import serving_port
from viridian_operator.api.names import admin_secret, serves
from viridian_operator.api.serves import read_serves
from viridian_operator.api.status import Revision
from viridian_operator.decide.decision import FlipPods, Retire, StageVersion, UnstagePods
from viridian_operator.kube.resources import CONFIG_MAP, SECRET

_TIMEOUT = aiohttp.ClientTimeout(total=2)
_AT_ONCE = 32

Told = Retire | StageVersion | FlipPods | UnstagePods


async def tell(
    children: Children, owner: Owner, action: Told, session: aiohttp.ClientSession, *, port: int
) -> list[str]:
    """Call every pod (``action.pods`` are IPs) at the same time; what did not work is returned, one line per pod.

    A pod that shows later that it did not do it is told again.

    Parameters
    ----------
    port
        Where a pod listens that does not say so itself.
    """
    secret = await children.find(SECRET, admin_secret(owner.name))
    token = token_of(secret) if secret and children.owns(secret) else None
    if token is None:
        return [f"Secret {admin_secret(owner.name)} holds no token for the admin calls"]
    verb, body = await _call(children, action)
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
            return await _post(session, url, token, body)

    answers = await asyncio.gather(*(call(ip) for ip in action.pods))
    return [answer for answer in answers if answer]


async def _call(children: Children, action: Told) -> tuple[str, Mapping[str, Any] | None]:
    """The call that ``action`` makes, and its body (docs/reference/online.md)."""
    match action:
        case Retire(retired=retired):
            return ("retire" if retired else "reinstate"), None
        case StageVersion(revision=revision):
            return "stage", await _stage(children, revision)
        case FlipPods(revision=revision):
            return "flip", {"digest": revision.digest}
        case UnstagePods():
            return "unstage", None


async def _stage(children: Children, revision: Revision) -> Mapping[str, Any]:
    config_map = await children.find(CONFIG_MAP, serves(revision.deployment))
    said = read_serves(config_map) if config_map else None
    golden = (said.golden.get(revision.digest) if said else "") or NO_GOLDEN
    return {
        "version": revision.version,
        "digest": revision.digest,
        "eventTime": revision.event_time,
        "golden": json.loads(golden),
    }


async def _post(session: aiohttp.ClientSession, url: str, token: str, body: Mapping[str, Any] | None) -> str:
    headers = {"Authorization": f"Bearer {token}"}
    try:
        async with session.post(url, headers=headers, json=body, timeout=_TIMEOUT, allow_redirects=False) as answer:
            return "" if answer.status < 300 else f"{url} answered {answer.status}"
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        return f"{url} did not answer: {type(error).__name__}"
