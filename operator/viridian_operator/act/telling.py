"""Admin calls: telling serving pods that callers should leave them, and which version to load or to serve."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

from viridian_operator.act.children import Children
from viridian_operator.act.manifests.owner import Owner
from viridian_operator.act.manifests.revision import NO_GOLDEN
from viridian_operator.act.manifests.secret import token_of
from viridian_operator.api.children import serving_port, url_of
from viridian_operator.api.names import admin_secret, serves
from viridian_operator.api.serves import read_serves
from viridian_operator.api.status import Revision
from viridian_operator.decide.decision import FlipPods, Retire, RevertPods, StageVersion, UnstagePods
from viridian_operator.kube.resources import CONFIG_MAP, SECRET

_TIMEOUT = aiohttp.ClientTimeout(total=2)
_REASON_LENGTH = 250
_AT_ONCE = 32

Told = Retire | StageVersion | FlipPods | UnstagePods


@dataclass(frozen=True)
class _Admin:
    """The admin calls of the serving pods of one ModelUpdate."""

    session: aiohttp.ClientSession
    token: str
    #: of pods that say where they listen, by their address
    ports: Mapping[str, int]
    port: int
    gate: asyncio.Semaphore

    async def call(self, ip: str, verb: str, body: Mapping[str, Any] | None) -> tuple[str, Any]:
        """What went wrong ("" for nothing), and the answer."""
        url = f"{url_of(ip, self.ports.get(ip, self.port))}/viridian/v1/admin/{verb}"
        async with self.gate:
            return await _post(self.session, url, self.token, body)

    async def call_all(self, ips: Iterable[str], verb: str, body: Mapping[str, Any] | None) -> list[str]:
        """What went wrong, one line per pod."""
        answers = await asyncio.gather(*(self.call(ip, verb, body) for ip in ips))
        return [problem for problem, _ in answers if problem]


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
    admin = await _admin(children, owner, session, port)
    if admin is None:
        return [_no_token(owner)]
    verb, body = await _call(children, action)
    return await admin.call_all(action.pods, verb, body)


async def revert(
    children: Children, owner: Owner, action: RevertPods, session: aiohttp.ClientSession, *, port: int
) -> list[str]:
    """One pod goes back and writes it into the store for all others; where it cannot write, all go back by themselves.

    Each pod that was told would begin an epoch of its own otherwise.
    """
    admin = await _admin(children, owner, session, port)
    if admin is None:
        return [_no_token(owner)]
    if not action.pods:
        return []
    first, *others = action.pods
    body = {"to": "anchor", "reason": action.reason[:_REASON_LENGTH]}
    problem, answer = await admin.call(first, "revert", body)
    if not problem and isinstance(answer, Mapping) and answer.get("recorded") is True:
        return []
    return [*filter(None, [problem]), *await admin.call_all(others, "revert", body)]


async def _admin(children: Children, owner: Owner, session: aiohttp.ClientSession, port: int) -> _Admin | None:
    secret = await children.find(SECRET, admin_secret(owner.name))
    token = token_of(secret) if secret and children.owns(secret) else None
    ports = {
        pod["status"]["podIP"]: serving_port(pod["spec"], port)
        for pod in children.pods()
        if (pod.get("status") or {}).get("podIP")
    }
    return _Admin(session, token, ports, port, asyncio.Semaphore(_AT_ONCE)) if token is not None else None


def _no_token(owner: Owner) -> str:
    return f"Secret {admin_secret(owner.name)} holds no token for the admin calls"


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


async def _post(
    session: aiohttp.ClientSession, url: str, token: str, body: Mapping[str, Any] | None
) -> tuple[str, Any]:
    headers = {"Authorization": f"Bearer {token}"}
    try:
        async with session.post(url, headers=headers, json=body, timeout=_TIMEOUT, allow_redirects=False) as answer:
            text = await answer.text()
            return ("", _json(text)) if answer.status < 300 else (f"{url} answered {answer.status}: {text[:200]}", None)
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        return f"{url} did not answer: {type(error).__name__}", None


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
