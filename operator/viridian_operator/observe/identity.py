"""What serving pods, and the active Service, say they serve."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from viridian_operator.decide.observation import Identity, Resident, Role
from viridian_operator.observe.prober import Answer, Prober
from viridian_operator.observe.troubles import REASONS

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
        residents=_residents(body.get("residents")),
        sequence=str(body.get("sequence") or ""),
        root=str(body.get("merkleRoot") or ""),
        **_consistency(body.get("consistency")),
    )


def _consistency(said: Any) -> dict[str, Any]:
    """How many damages of its memory a pod repaired, and what the last one was."""
    if not isinstance(said, Mapping) or not isinstance(said.get("repaired"), int):
        return {}
    last = said.get("last")
    return {"repaired": said["repaired"], "damage": str(last.get("cause") or "") if isinstance(last, Mapping) else ""}


def _residents(listed: Any) -> tuple[Resident, ...] | None:
    if not isinstance(listed, list):
        return None
    return tuple(found for each in listed if isinstance(each, Mapping) and (found := _resident(each)))


def _resident(entry: Mapping[str, Any]) -> Resident | None:
    """None for a role that nothing has."""
    role, error = entry.get("role"), entry.get("error")
    if role not in set(Role) or not entry.get("digest"):
        return None
    reason = error.get("reason") if isinstance(error, Mapping) else None
    return Resident(
        role=Role(role),
        version=str(entry.get("version") or ""),
        digest=str(entry["digest"]),
        ready=entry.get("phase") == "Ready",
        failed=entry.get("phase") == "Failed",
        trouble=REASONS.get(str(reason)),
        message=_error(error),
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
