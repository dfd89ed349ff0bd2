"""Processes in containers of this machine, as the kernel that kills them sees them."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from loop.following import Object


def kill_container(pod: Object) -> int:
    """SIGKILL to every process of a pod but the one that holds its namespaces; returns how many there were.

    Works where the node is this machine, and for root.
    """
    uid, killed = pod["metadata"]["uid"].replace("-", "_"), 0
    for process in Path("/proc").iterdir():
        try:
            inside = process.name.isdigit() and uid in (process / "cgroup").read_text().replace("-", "_")
            if inside and not (process / "cmdline").read_bytes().startswith(b"/pause"):
                os.kill(int(process.name), signal.SIGKILL)
                killed += 1
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended by itself meanwhile
    return killed
