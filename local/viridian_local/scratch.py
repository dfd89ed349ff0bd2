"""Folders for half-made things in the cache, beside where the finished thing goes, so that a rename publishes it."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from viridian_local.errors import Problem

_PREFIX = ".half-made-"


@contextmanager
def scratch(parent: Path) -> Iterator[Path]:
    """A new folder in ``parent``, removed afterwards; those of killed commands are removed first."""
    try:
        parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Problem(f"{parent} cannot be made: {error.strerror}.", "Choose another VIRIDIAN_CACHE.") from error
    for left in parent.glob(f"{_PREFIX}*"):
        if not Path("/proc", left.name.removeprefix(_PREFIX).split("-")[0]).exists():
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=parent))
    try:
        folder.chmod(0o755)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
