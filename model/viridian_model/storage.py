"""Directories that appear complete or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def partial_directory(final: Path) -> Iterator[Path]:
    """Give a new hidden directory beside ``final``; whatever is left of it in the end is removed."""
    final.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{final.name}.", suffix=".partial", dir=final.parent))
    partial.chmod(0o755)
    try:
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def publish(partial: Path, final: Path) -> bool:
    """Flush ``partial`` to disk and give it its final name in one step.

    Returns:
        False if ``final`` stands already (somebody else was faster); nothing is changed then.
    """
    for path in sorted(partial.iterdir()):
        sync(path)
    sync(partial)
    try:
        partial.rename(final)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return False
    sync(final.parent)
    return True


def sync(path: Path) -> None:
    """fsync a file or directory."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_file(path: Path, data: bytes) -> None:
    """Write a file that holds either its old or its new content, whenever the process or machine stops."""
    unfinished = path.with_name(f".{path.name}.tmp")
    unfinished.write_bytes(data)
    sync(unfinished)
    unfinished.rename(path)
    sync(path.parent)
