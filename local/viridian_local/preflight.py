"""What must hold before a start: each failure is one sentence and a way out."""

import os
import shutil
import socket
from contextlib import closing
from pathlib import Path

from viridian_local import addresses as at
from viridian_local.errors import Problem
from viridian_local.paths import Paths, cache_dir

NEEDED_FREE = 8 * 2**30


def require_root() -> None:
    """Only root can make bridges, mounts and control groups."""
    if os.geteuid() != 0:
        raise Problem("A Kubernetes node needs root.", "Run it as root, or set KUBECONFIG to a cluster of your own.")


def require_space(paths: Paths) -> None:
    """Binaries and images need room; a full disk in the middle of a start is hard to understand."""
    for folder in (cache_dir(), paths.state):
        existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
        free = shutil.disk_usage(existing).free
        if free < NEEDED_FREE:
            raise Problem(
                f"{existing} has {free / 2**30:.1f} GB free; binaries and images need {NEEDED_FREE / 2**30:.0f} GB.",
                "Make room, or choose other folders with VIRIDIAN_CACHE and VIRIDIAN_STATE.",
            )


def refuse_taken_ports() -> None:
    """Tell who-needs-what when a port of the control plane is in use."""
    for host, port, component in at.LISTENERS:
        with closing(socket.socket()) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                raise Problem(
                    f"{host}:{port}, which {component} needs, is in use ({error.strerror}).",
                    f"Another Kubernetes may be running; `ss -ltnp 'sport = :{port}'` shows the program. End it first.",
                ) from error


def writable(folder: Path) -> None:
    """Make ``folder``, or say that it cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Problem(f"{folder} cannot be made: {error.strerror}.", "Choose another VIRIDIAN_STATE.") from error
