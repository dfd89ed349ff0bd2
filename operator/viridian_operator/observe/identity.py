"""What serving pods, and the active Service, say they serve."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from viridian_operator.decide.observation import Identity
from viridian_operator.observe.prober import Answer, Prober

PATH = "/viridian/v1/identity"
#: connections to the Service; kube-proxy picks an endpoint for each
CONNECTIONS = 5


def identity_of(answer: Answer) -> Identity | None:
    """The identity in an answer; None if it says none."""
    body = answer.json() if answer.status == 200 else None
    if not isinstance(body, Mapping) or not all(isinstance(body.get(key), str) for key in ("version", "digest")):
        return None
    return Identity(
        version=body["version"],
        digest=body["digest"],
        ready=body.get("ready") is True,
        phase=str(body.get("phase") or ""),
        retired=body.get("retired") is True,
        error=_error(body.get("error")),
    )


def _error(error: Any) -> str:
    if not isinstance(error, Mapping):
        return ""
    return f"{error.get('reason') or ''}: {error.get('message') or ''}".strip(": ")


async def ask_identity(prober: Prober, address: str) -> Identity | None:
    """What the server at ``address`` says about itself; None if it says nothing."""
    return identity_of(await prober.ask(f"{address}{PATH}"))


async def ask_service(prober: Prober, address: str, *, connections: int = CONNECTIONS) -> tuple[str, ...] | None:
    """Digests that answered over fresh connections through a Service.

    None unless every connection was answered: silence of one endpoint proves nothing about it.
    """
    found = await asyncio.gather(*(ask_identity(prober, address) for _ in range(connections)))
    digests = [each.digest for each in found if each is not None]
    return tuple(sorted(digests)) if len(digests) == connections else None
