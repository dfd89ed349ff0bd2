"""A store in a directory, on a local disk or a shared volume.

It relies on four things, which POSIX asks for and NFS keeps between hosts: ``link`` creates a name or fails because it
stands already, one of the two, for all hosts; a file that was flushed before it was linked has its content when its
name is seen; names are not reordered by a flush of their directory; directory entries are seen by other hosts after
the attribute cache of the mount at the latest (``actimeo=1`` keeps that short, followers lag by it).

No lock is held: a paused process, or one cut off from the volume, can hold up nobody and overwrite nothing.
"""

from __future__ import annotations

import errno
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from viridian_model.storage import sync
from viridian_model.store.keys import checked
from viridian_model.store.protocol import Absent, Conflict, StoreRefused, StoreUnavailable, Versioned

KEPT_VERSIONS = 1000
KEPT_SECONDS = 600.0
"""Values of a record that are kept at least: a writer that read one of them finds that it was followed."""

_POLL = 0.01
_UNFINISHED = ".unfinished"
_STALE_SECONDS = 3600.0
_RECORD = ".record"
_REFUSALS = {
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOSPC,
    errno.EDQUOT,
    errno.ENOTSUP,
    errno.EMLINK,
    errno.ENOSYS,
}


class DirectoryStore:
    """Keys are paths below ``root``. Unfinished files stand in ``root/.unfinished`` until they get their name."""

    def __init__(self, root: Path) -> None:
        """``root`` is made when something is written."""
        self.root = root

    def get(self, key: str) -> bytes:
        """See `Store.get`."""
        with _told(f"reading {key}"):
            try:
                return self._path(key).read_bytes()
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                raise Absent(f"{key} is not in {self.root}") from None

    def get_range(self, key: str, start: int, size: int) -> bytes:
        """See `Store.get_range`."""
        with _told(f"reading {key}"):
            try:
                with self._path(key).open("rb") as stream:
                    stream.seek(start)
                    return stream.read(size)
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                raise Absent(f"{key} is not in {self.root}") from None

    def put_new(self, key: str, data: bytes) -> bool:
        """See `Store.put_new`."""
        with _told(f"writing {key}"):
            return link_new(self.root / _UNFINISHED, self._path(key), data)

    def keys(self, prefix: str) -> Iterator[str]:
        """See `Store.keys`."""
        with _told(f"listing {prefix}"):
            folder = self._path(prefix)
            for directory, folders, files in os.walk(folder):
                folders[:] = [name for name in folders if not name.endswith(_RECORD)]
                yield from (str((Path(directory) / name).relative_to(self.root)) for name in files)

    def delete(self, key: str) -> None:
        """See `Store.delete`; folders that get empty go too."""
        path = self._path(key)
        with _told(f"removing {key}"), suppress(FileNotFoundError, NotADirectoryError):
            path.unlink()
            with suppress(OSError):  # another blob stands in it, or is just being written: nothing to remove then
                path.parent.rmdir()

    def record(self, key: str) -> DirectoryRecord:
        """See `Store.record`."""
        path = self._path(key)
        return DirectoryRecord(self.root / _UNFINISHED, path.with_name(path.name + _RECORD))

    def tidy(self) -> None:
        """See `Store.tidy`."""
        with _told("removing unfinished files"), suppress(FileNotFoundError):
            for path in (self.root / _UNFINISHED).iterdir():
                with suppress(FileNotFoundError):
                    if time.time() - path.stat().st_mtime > _STALE_SECONDS:
                        path.unlink()

    def close(self) -> None:
        """Nothing is kept open."""

    def _path(self, key: str) -> Path:
        return self.root / checked(key)


class DirectoryRecord:
    """Values in numbered files of which the highest counts: the next value is whatever gets the next number first."""

    def __init__(self, unfinished: Path, folder: Path) -> None:
        self._unfinished, self._folder = unfinished, folder

    def read(self) -> Versioned | None:
        """See `Record.read`."""
        with _told(f"reading {self._folder.name}"):
            while numbers := self._numbers():
                with suppress(FileNotFoundError):  # removed since, because many newer ones came
                    return Versioned(self._file(numbers[-1]).read_bytes(), str(numbers[-1]))
            return None

    def compare_and_set(self, version: str | None, data: bytes) -> str:
        """See `Record.compare_and_set`."""
        number = int(version or 0) + 1
        with _told(f"writing {self._folder.name}"):
            if not link_new(self._unfinished, self._file(number), data):
                raise Conflict(f"{self._folder.name} has a version {number} already")
            numbers = self._numbers()
            if numbers[-1] - number >= KEPT_VERSIONS:
                # Its number was given before and the file removed since: nobody looks at such an old one.
                self._file(number).unlink(missing_ok=True)
                raise Conflict(f"{self._folder.name} is at version {numbers[-1]}, not at {number - 1}")
            self._remove_old(numbers)
        return str(number)

    def wait(self, version: str | None, timeout: float) -> bool:
        """See `Record.wait`; asks for the next number every 10 ms, which is one system call."""
        following, deadline = self._file(int(version or 0) + 1), time.monotonic() + timeout
        with _told(f"reading {self._folder.name}"):
            while not following.exists():
                left = deadline - time.monotonic()
                if left <= 0:
                    # Far behind, even the next one was removed.
                    return (self._numbers() or [0])[-1] > int(version or 0)
                time.sleep(min(_POLL, left))
        return True

    def _numbers(self) -> list[int]:
        try:
            return sorted(int(name) for name in os.listdir(self._folder))
        except FileNotFoundError:
            return []

    def _file(self, number: int) -> Path:
        return self._folder / f"{number:020d}"

    def _remove_old(self, numbers: list[int]) -> None:
        # Ascending, a few at a time, so that no single call takes long.
        for number in numbers[:-KEPT_VERSIONS][:8]:
            path = self._file(number)
            with suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime < KEPT_SECONDS:
                    return
                path.unlink()


def link_new(unfinished: Path, final: Path, data: bytes) -> bool:
    """Give ``data`` the name ``final`` in one step, flushed; false if the name is taken."""
    if final.exists():
        return False
    unfinished.mkdir(parents=True, exist_ok=True)
    final.parent.mkdir(parents=True, exist_ok=True)
    path = unfinished / uuid.uuid4().hex
    path.write_bytes(data)
    try:
        sync(path)
        os.link(path, final)
    except FileExistsError:
        return False
    finally:
        path.unlink()
    sync(final.parent)
    return True


@contextmanager
def _told(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        kind = StoreRefused if error.errno in _REFUSALS else StoreUnavailable
        raise kind(f"{what} failed: {error.strerror or error}") from error
