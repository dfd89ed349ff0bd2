"""Folders for half-made things in the cache, beside where the finished thing goes, so that a rename publishes it."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from viridian_local.errors import Problem
from viridian_local.progress import step

_PREFIX = ".half-made-"


@contextmanager
def scratch(parent: Path) -> Iterator[Path]:
    """A new folder in ``parent``, removed afterwards; those of killed commands are removed first."""
    _make(parent)
    for left in parent.glob(f"{_PREFIX}*"):
        if not Path("/proc", left.name.removeprefix(_PREFIX).split("-")[0]).exists():
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=parent))
    try:
        folder.chmod(0o755)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def only_maker(target: Path, what: str) -> Iterator[None]:
    """Wait while another command makes ``target``: half an hour of work is not done twice side by side.

    The kernel lets go when the other one ends, however it does; the caller looks again whether there is still work.
    """
    _make(target.parent)
    with (target.parent / f".{target.name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with step(f"Waiting for another command that makes {what}"):
                fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Problem(f"{folder} cannot be made: {error.strerror}.", "Choose another VIRIDIAN_CACHE.") from error
