"""A store in a bucket of S3, or of a service with its interface.

It needs conditional writes: ``If-None-Match: *`` and ``If-Match`` on PutObject (Amazon S3 has them since November
2024), atomic for all clients. S3 cannot tell of a change, so `wait` asks again and again.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import obstore
from obstore import exceptions
from obstore.store import S3Store

from viridian_model.store.keys import checked
from viridian_model.store.protocol import Absent, Conflict, StoreRefused, StoreUnavailable, Versioned

_RECORD = ".record"
_REFUSALS = (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError, exceptions.NotSupportedError)


class ObjectStore:
    """Keys are object keys below the prefix of the client."""

    def __init__(self, client: S3Store, poll: float) -> None:
        """``poll`` is the time between two looks at a record, in seconds."""
        self._client, self._poll = client, poll

    def get(self, key: str) -> bytes:
        """See `Store.get`."""
        with _told(f"reading {key}"):
            try:
                return bytes(obstore.get(self._client, checked(key)).bytes())
            except FileNotFoundError as error:
                _check_bucket(error)
                raise Absent(f"{key} is not in the store") from None

    def get_range(self, key: str, start: int, size: int) -> bytes:
        """See `Store.get_range`."""
        if size == 0:
            return b""
        with _told(f"reading {key}"):
            try:
                return bytes(obstore.get_range(self._client, checked(key), start=start, length=size))
            except FileNotFoundError:
                raise Absent(f"{key} is not in the store") from None

    def put_new(self, key: str, data: bytes) -> bool:
        """See `Store.put_new`."""
        with _told(f"writing {key}"):
            try:
                obstore.put(self._client, checked(key), data, mode="create", use_multipart=False)
            except exceptions.AlreadyExistsError:
                return False
            return True

    def keys(self, prefix: str) -> Iterator[str]:
        """See `Store.keys`."""
        with _told(f"listing {prefix}"):
            for page in obstore.list(self._client, checked(prefix) + "/"):
                yield from (each["path"] for each in page if not each["path"].endswith(_RECORD))

    def delete(self, key: str) -> None:
        """See `Store.delete`."""
        with _told(f"removing {key}"):
            try:
                obstore.delete(self._client, checked(key))
            except FileNotFoundError:
                return

    def record(self, key: str) -> ObjectRecord:
        """See `Store.record`."""
        return ObjectRecord(self._client, checked(key) + _RECORD, self._poll)

    def tidy(self) -> None:
        """A blob is written by one request: nothing is left unfinished."""

    def close(self) -> None:
        """Connections are given up with the client."""


class ObjectRecord:
    """The version of a value is its entity tag."""

    def __init__(self, client: S3Store, key: str, poll: float) -> None:
        self._client, self._key, self._poll = client, key, poll

    def read(self) -> Versioned | None:
        """See `Record.read`."""
        with _told(f"reading {self._key}"):
            try:
                found = obstore.get(self._client, self._key)
                return Versioned(bytes(found.bytes()), _tag(found.meta["e_tag"]))
            except FileNotFoundError as error:
                _check_bucket(error)
                return None

    def compare_and_set(self, version: str | None, data: bytes) -> str:
        """See `Record.compare_and_set`."""
        mode: Any = "create" if version is None else {"e_tag": version}
        with _told(f"writing {self._key}"):
            try:
                return _tag(obstore.put(self._client, self._key, data, mode=mode, use_multipart=False)["e_tag"])
            except FileNotFoundError as error:
                _check_bucket(error)
                raise Conflict(f"{self._key} is gone") from None
            except (exceptions.AlreadyExistsError, exceptions.PreconditionError):
                raise Conflict(f"{self._key} is not what was read") from None

    def wait(self, version: str | None, timeout: float) -> bool:
        """See `Record.wait`."""
        deadline = time.monotonic() + timeout
        while not self._changed(version):
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(self._poll, left))
        return True

    def _changed(self, version: str | None) -> bool:
        with _told(f"reading {self._key}"):
            try:
                return _tag(obstore.head(self._client, self._key)["e_tag"]) != version
            except FileNotFoundError:
                return version is not None


def _tag(e_tag: str | None) -> str:
    if e_tag is None:
        raise StoreRefused("the service gives no entity tags, without which records cannot be compared")
    return e_tag


@contextmanager
def _told(what: str) -> Iterator[None]:
    try:
        yield
    except (*_REFUSALS, FileNotFoundError) as error:
        raise StoreRefused(f"{what} was refused: {_short(error)}") from None
    except exceptions.BaseError as error:
        _check_bucket(error)
        raise StoreUnavailable(f"{what} failed: {_short(error)}") from None


def _check_bucket(error: Exception) -> None:
    """A bucket that is not there answers like a key that is not."""
    if "NoSuchBucket" in str(error):
        raise StoreRefused("there is no such bucket: create it, or correct the address of the store") from None


def _short(error: Exception) -> str:
    # The whole text has the address and the answer of the service in it, over many lines.
    return str(error).strip().splitlines()[0][:200]
