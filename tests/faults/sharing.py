"""What test processes beside each other share: made by the first that comes, undone by the last that leaves."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def made_once(folder: Path, make: Callable[[], Any], undo: Callable[[Any], None]) -> Iterator[None]:
    """``make`` returns what ``undo`` has to know, as JSON allows it; ``folder`` is the same for all processes."""
    folder.mkdir(exist_ok=True)
    with _users(folder) as state:
        if not state["users"]:
            state["made"] = make()
        state["users"] += 1
    try:
        yield
    finally:
        with _users(folder) as state:
            state["users"] -= 1
            if not state["users"]:
                undo(state["made"])


@contextmanager
def _users(folder: Path) -> Iterator[dict[str, Any]]:
    """The record of who is there, which one process at a time changes."""
    with (folder / "users.json").open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        state = json.loads(file.read() or '{"users": 0}')
        yield state
        file.truncate(0)
        file.write(json.dumps(state))
