"""What serves, so that two moments can be compared."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import Any

from loop.appending import Stream
from loop.following import Following, Object
from loop.manifests import NAME, model_update, plugins
from loop.space import Space

REVISION = "viridian.dev/revision"
FIRST_EVENTS = 4000
UPDATE_LIMIT = 300.0


@dataclass(frozen=True)
class Served:
    """The active revision: its version, its pods (name, uid, restarts), and what the Service selects."""

    version: str
    digest: str
    pods: frozenset[tuple[str, str, int]]
    selected: str


def served(space: Space) -> Served:
    """What serves now."""
    active = space.status(NAME)["active"]
    pods = space.list("pods", f"{REVISION}={active['hash']}")
    selector = space.get("service", NAME)["spec"]["selector"]
    return Served(active["version"], active["digest"], frozenset(map(_pod, pods)), selector[REVISION])


def _pod(pod: Object) -> tuple[str, str, int]:
    statuses = pod["status"].get("containerStatuses") or []
    return pod["metadata"]["name"], pod["metadata"]["uid"], sum(each["restartCount"] for each in statuses)


def serve_first(space: Space, stream: Stream, **changes: Any) -> None:
    """Append the first events, apply the ModelUpdate, and wait until a model serves."""
    stream.append(FIRST_EVENTS)
    space.apply(plugins(), model_update(space.name, **changes))
    space.wait_for(f"modelupdate/{NAME}", "condition=Ready", UPDATE_LIMIT)


def entry(status: dict[str, Any], number: int) -> dict[str, Any] | None:
    """The record of a finished update."""
    return next((found for found in status.get("history") or [] if found["number"] == number), None)


def ended(following: Following, number: int, seconds: float = UPDATE_LIMIT) -> tuple[dict[str, Any], dict[str, Any]]:
    """Wait for the end of an update; returns its record and the status."""

    def over(state: Object) -> bool:
        return entry(state.get("status") or {}, number) is not None

    status = following.wait(over, seconds, f"end of update {number}")["status"]
    return entry(status, number) or {}, status


def last_number(space: Space) -> int:
    """Number of the newest update, 0 without one."""
    return int((space.status(NAME).get("update") or {}).get("number", 0))


def phases(update: dict[str, Any]) -> list[str]:
    """Phases that an update has left, in their order; waiting and working in one of them is one."""
    return [phase for phase, _ in groupby(record["phase"] for record in update["phases"])]


def condition(status: dict[str, Any], kind: str) -> dict[str, Any]:
    """A condition; empty if it is absent."""
    return next((found for found in status.get("conditions") or [] if found["type"] == kind), {})
