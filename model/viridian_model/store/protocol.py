"""What a store can do. Bytes in, bytes out; every call blocks for no longer than the time limit of the store."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Protocol


class StoreError(Exception):
    """Something about the store went wrong; the text says what and where, never with a credential."""


class Absent(StoreError):
    """The store answered, and nothing stands under the key."""


class Conflict(StoreError):
    """The record is not the one that was read: somebody else was faster."""


class StoreUnavailable(StoreError):
    """The store did not answer, or not in time. Whether a write took effect is not known."""


class StoreRefused(StoreError):
    """The store answered no: wrong credentials, no permission, no such bucket, a file system without hard links."""


class Versioned(NamedTuple):
    """Content of a record, and an opaque word for `Record.compare_and_set`."""

    data: bytes
    version: str


class Record(Protocol):
    """One small value that is changed by comparing and setting only."""

    def read(self) -> Versioned | None:
        """Return the present value, or nothing if it was never set.

        Raises:
            StoreUnavailable, StoreRefused: the store did not answer, or said no.
        """
        ...

    def compare_and_set(self, version: str | None, data: bytes) -> str:
        """Replace the value that was read as ``version`` (nothing: was never set); return the new version.

        Raises:
            Conflict: the value is another one.
            StoreUnavailable: it may or may not have been replaced: read it.
        """
        ...

    def wait(self, version: str | None, timeout: float) -> bool:
        """Return true as soon as the value is seen not to be ``version`` any more, false after ``timeout`` seconds.

        Raises:
            StoreUnavailable, StoreRefused: the store did not answer, or said no.
        """
        ...


class Store(Protocol):
    """Blobs that are written once, and records. Safe to be used by several threads.

    A key is a relative path of parts of letters, digits and ``._-``, none of which begins with a dot.
    """

    def get(self, key: str) -> bytes:
        """Return a blob.

        Raises:
            Absent: there is none.
            StoreUnavailable, StoreRefused: the store did not answer, or said no.
        """
        ...

    def get_range(self, key: str, start: int, size: int) -> bytes:
        """Return ``size`` bytes of a blob from ``start`` on, fewer where it ends; no other byte is moved.

        Raises:
            Absent: there is none.
            StoreUnavailable, StoreRefused: the store did not answer, or said no.
        """
        ...

    def put_new(self, key: str, data: bytes) -> bool:
        """Write a blob that nobody sees before it is complete; false if one stands there already, which is left.

        Raises:
            StoreUnavailable: it may or may not have been written: write it again.
        """
        ...

    def keys(self, prefix: str) -> Iterable[str]:
        """Return the keys of the blobs below the folder ``prefix``, in no order; records are not among them."""
        ...

    def delete(self, key: str) -> None:
        """Remove a blob; none is no error."""
        ...

    def record(self, key: str) -> Record:
        """Return the record under a key."""
        ...

    def tidy(self) -> None:
        """Remove what writers that were killed more than an hour ago left unfinished."""
        ...

    def close(self) -> None:
        """Give up connections; a wait that is under way ends with `StoreUnavailable` or false."""
        ...
