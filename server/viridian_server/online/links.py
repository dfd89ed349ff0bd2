"""Where the rows of anchors and deltas stand in their files, so that a few of them can be fetched alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from viridian_model.bundle import WEIGHTS
from viridian_model.chain.delta import Compression, Delta, plain, read_manifest
from viridian_model.errors import BadDelta
from viridian_model.merkle import Positions
from viridian_model.publication import keys
from viridian_model.store.protocol import Store

_TYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<i2", "F8_E4M3": "u1", "F8_E5M2": "u1",
    "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1", "BOOL": "?",
}  # fmt: skip
"""Types of safetensors as `viridian_model.served` shows them."""
_LENGTH_BYTES = 8
_LARGEST_HEADER = 16 << 20


class File:
    """One safetensors file of the store, read in parts, or whole if it is compressed; counts what it moves."""

    def __init__(self, store: Store, key: str, header: bytes | None = None, compression: Compression = "none") -> None:
        """``header`` is the beginning of the file if it is known.

        Raises:
            BadDelta: the file has no readable header.
            Absent, StoreUnavailable, StoreRefused: it cannot be read.
        """
        self._store, self._key, self.bytes = store, key, 0
        self._whole: bytes | None = None
        if compression != "none":
            stored = store.get(key)
            self._whole, self.bytes = plain(stored, compression), len(stored)
        if header is None:
            length = int.from_bytes(self._read(0, _LENGTH_BYTES), "little")
            header = self._read(_LENGTH_BYTES, min(length, _LARGEST_HEADER))
        self.header = header
        self._begin = _LENGTH_BYTES + len(header)
        self._entries: dict[str, Any] = _parsed(header, key)

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def length(self, name: str) -> int:
        """Return the number of rows of a tensor."""
        return int(self._entry(name)["shape"][0])

    def rows(self, name: str, start: int = 0, stop: int | None = None) -> NDArray[Any]:
        """Return the rows ``start`` to ``stop`` of a tensor, all by default.

        Raises:
            BadDelta: the file is not what its header says.
            Absent, StoreUnavailable, StoreRefused: it cannot be read.
        """
        entry = self._entry(name)
        shape, dtype = entry["shape"], np.dtype(_TYPES[entry["dtype"]])
        width = dtype.itemsize * int(np.prod(shape[1:], dtype=np.int64))
        count = (shape[0] if shape else 1) if stop is None else stop - start
        data = self._read(self._begin + entry["data_offsets"][0] + start * width, count * width)
        if len(data) != count * width:
            raise BadDelta(f"{self._key} is shorter than its header says")
        return np.frombuffer(data, dtype).reshape((count, *shape[1:]) if shape else ())

    def _entry(self, name: str) -> Any:
        if name not in self._entries:
            raise BadDelta(f"{self._key} has no tensor {name!r}")
        return self._entries[name]

    def _read(self, start: int, size: int) -> bytes:
        if self._whole is not None:
            return self._whole[start : start + size]
        data = self._store.get_range(self._key, start, size)
        self.bytes += len(data)
        return data


@dataclass(frozen=True)
class Link:
    """A delta without its values: the beginning of its file, and the positions that it writes and frees by table."""

    header: bytes
    compression: Compression
    written: Mapping[str, Positions]
    removed: Mapping[str, Positions]


class LinkIndex:
    """The links that this replica has applied."""

    def __init__(self, store: Store, chain: str) -> None:
        self._store, self._chain = store, chain
        self._links: dict[str, Link] = {}
        self._kept: tuple[str, ...] = ()

    def learn(self, delta: Delta) -> None:
        """Remember where the rows of an applied delta stand."""
        payload, tables = delta.safetensors, delta.change.tables
        header = payload[_LENGTH_BYTES : _LENGTH_BYTES + int.from_bytes(payload[:_LENGTH_BYTES], "little")]
        written = {name: table.positions for name, table in tables.items()}
        removed = {name: table.removed for name, table in tables.items()}
        self._links[delta.digest] = Link(header, delta.manifest.payload.compression, written, removed)

    def keep(self, digests: tuple[str, ...]) -> None:
        """Forget other links."""
        self._kept = digests
        self._links = {digest: self._links[digest] for digest in digests if digest in self._links}

    def complete(self) -> None:
        """Read those of the kept links that came to be by merging, without their values; no delta waits for that.

        Raises:
            BadDelta, Absent, StoreUnavailable, StoreRefused: one cannot be read.
        """
        for digest in self._kept:
            if digest not in self._links:
                self._links[digest] = self._fetched(digest)

    def open(self, digest: str) -> tuple[Link, File]:
        """Return a link and its file."""
        link = self._links.get(digest) or self._fetched(digest)
        return link, File(self._store, keys.payload(self._chain, digest), link.header, link.compression)

    def open_anchor(self, digest: str) -> File:
        """Return the weights of an anchor."""
        return File(self._store, keys.bundle_file(self._chain, digest, WEIGHTS))

    def _fetched(self, digest: str) -> Link:
        manifest = read_manifest(self._store.get(keys.manifest(self._chain, digest)), digest)
        file = File(self._store, keys.payload(self._chain, digest), compression=manifest.payload.compression)
        written, removed = (
            {name: file.rows(f"rows/{name}/{part}") for name in manifest.tables} for part in ("positions", "removed")
        )
        return Link(file.header, manifest.payload.compression, written, removed)


def _parsed(header: bytes, key: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(header)
    except ValueError as error:
        raise BadDelta(f"{key} has no readable header: {error}") from None
    return found
