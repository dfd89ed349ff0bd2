"""A place to write to: the root file system of a pod is read-only."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def scratch_environment() -> None:
    """Point libraries that write to the home directory to a temporary one."""
    scratch = Path(tempfile.gettempdir()) / f"viridian-{os.getuid()}"
    scratch.mkdir(mode=0o700, exist_ok=True)
    for name in ("MPLCONFIGDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        os.environ.setdefault(name, str(scratch))
