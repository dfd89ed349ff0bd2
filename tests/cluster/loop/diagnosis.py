"""What one wants to see when a test has failed."""

from __future__ import annotations

from collections.abc import Iterable

from loop.installing import SYSTEM
from loop.space import Space
from viridian_demo.commands import CommandFailed, Tools

_LINES = 300
_LOOKS = (
    ("get", "modelupdates", "-o", "yaml", "--show-managed-fields=false"),
    ("get", "events", "--sort-by=.metadata.creationTimestamp"),
    ("get", "pods,jobs,deployments,services", "-o", "wide", "--show-labels"),
)
_LOG = ("logs", "deployment/viridian", "--all-pods=true", "--prefix", f"--tail={_LINES}")


def state(tools: Tools, spaces: Iterable[Space]) -> str:
    """ModelUpdates, events and pods of the namespaces, and the operator's log."""
    parts = [_look(space, look) for space in spaces for look in _LOOKS]
    return "\n".join([*parts, _look(Space(tools, SYSTEM), _LOG)])


def _look(space: Space, command: tuple[str, ...]) -> str:
    try:
        found = space.kubectl(*command)
    except CommandFailed as problem:
        found = str(problem)
    return f"--- {space.name}: kubectl {' '.join(command)}\n{found}"
