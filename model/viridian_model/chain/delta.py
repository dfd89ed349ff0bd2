"""A delta: manifest, payload, and its digest; see docs/reference/online.md."""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic.alias_generators import to_camel

from viridian_model.canonical import canonical_json
from viridian_model.chain.change import Change, Encoding, decode
from viridian_model.errors import BadDelta, DigestMismatch

Compression = Literal["none", "zlib"]

#: Payloads up to so many bytes are compressed: of these most is names of tensors. Of larger ones readers repair blocks
#: by reading parts of the file.
SMALL = 64 << 10

Sha256 = Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0)]


class _Part(BaseModel):
    # What a later version adds is kept; the digest is that of the JSON as it was written.
    model_config = ConfigDict(frozen=True, extra="allow", alias_generator=to_camel, populate_by_name=True)


class Payload(_Part):
    """The payload file: digest and size as it is stored."""

    sha256: Sha256
    size: Count
    encoding: Encoding = "fp32"
    compression: Compression = "none"


class TableCounts(_Part):
    """Rows that changed, rows that were freed, and rows of the table afterwards."""

    changed: Count
    removed: Count
    rows: Count


class Trained(_Part):
    """What only the trainer knows: how far it has trained, the time of the newest event, and how many it was."""

    trained_to: dict[str, str]
    event_time: float | None = None
    events: Count = 0


class DeltaManifest(Trained):
    """All of a delta's manifest."""

    schema_: Literal["viridian.delta/v1"] = Field(default="viridian.delta/v1", alias="schema")
    model: str
    anchor: str
    parent_root: str
    root: str
    payload: Payload
    tables: dict[str, TableCounts]
    tensors: tuple[str, ...]
    golden: Sha256 | None = None

    @classmethod
    def parse(cls, data: bytes) -> DeltaManifest:
        """Read a manifest.

        Raises:
            BadDelta: it does not fit.
        """
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            raise BadDelta(f"the manifest of a delta cannot be read: {error}") from None

    def encode(self) -> bytes:
        """Return the bytes of the file."""
        return canonical_json(self.model_dump(mode="json", by_alias=True))


@dataclass(frozen=True)
class Delta:
    """A delta whose parts belong together; ``digest`` is ``sha256:…`` of the manifest as it was written."""

    digest: str
    manifest: DeltaManifest
    payload: bytes
    golden: bytes | None = None

    @cached_property
    def safetensors(self) -> bytes:
        """The payload as it was before it was compressed.

        Raises:
            BadDelta: it is not what the manifest says.
        """
        return plain(self.payload, self.manifest.payload.compression)

    @cached_property
    def change(self) -> Change:
        """What changed, decoded once.

        Raises:
            BadDelta: payload and manifest do not fit.
        """
        counts = self.manifest.tables
        rows = {name: count.rows for name, count in counts.items()}
        change = decode(self.safetensors, rows)
        for name, table in change.tables.items():
            if (len(table.positions), len(table.removed)) != (counts[name].changed, counts[name].removed):
                raise BadDelta(f"table {name!r} of the payload has other numbers of rows than the manifest says")
        if sorted(change.tensors) != sorted(self.manifest.tensors):
            raise BadDelta("the payload holds other tensors than the manifest says")
        return change


def seal(
    change: Change,
    payload: bytes,
    *,
    model: str,
    anchor: str,
    parent_root: str,
    root: str,
    trained: Trained,
    encoding: Encoding = "fp32",
    golden: bytes | None = None,
) -> Delta:
    """Put a manifest to what `encode` returned, and compress it if it is small; ``root`` is that of the state after
    ``change``, as readers get it.
    """
    compression: Compression = "zlib" if len(payload) <= SMALL else "none"
    stored = zlib.compress(payload) if compression == "zlib" else payload
    counts = {
        name: TableCounts(changed=len(table.positions), removed=len(table.removed), rows=table.rows)
        for name, table in change.tables.items()
    }
    manifest = DeltaManifest(
        **trained.model_dump(),
        model=model,
        anchor=anchor,
        parent_root=parent_root,
        root=root,
        payload=Payload(sha256=_sha256(stored), size=len(stored), encoding=encoding, compression=compression),
        tables=counts,
        tensors=tuple(sorted(change.tensors)),
        golden=None if golden is None else _sha256(golden),
    )
    return Delta("sha256:" + _sha256(manifest.encode()), manifest, stored, golden)


def plain(payload: bytes, compression: Compression) -> bytes:
    """Return a stored payload as safetensors.

    Raises:
        BadDelta: it was not compressed in that way.
    """
    if compression == "none":
        return payload
    try:
        return zlib.decompress(payload)
    except zlib.error as error:
        raise BadDelta(f"the payload cannot be decompressed: {error}") from None


def read_manifest(data: bytes, want_digest: str) -> DeltaManifest:
    """Verify and read a manifest.

    Raises:
        DigestMismatch: it is another one.
        BadDelta: it does not fit.
    """
    if (digest := "sha256:" + _sha256(data)) != want_digest:
        raise DigestMismatch(f"the manifest of a delta has the digest {digest}, wanted is {want_digest}")
    return DeltaManifest.parse(data)


def read_delta(digest: str, manifest: DeltaManifest, payload: bytes, golden: bytes | None = None) -> Delta:
    """Verify the files of a delta against its manifest.

    Raises:
        DigestMismatch: size or SHA-256 of one is another; names it.
    """
    if len(payload) != manifest.payload.size:
        raise DigestMismatch(f"the payload of {digest} has {len(payload)} bytes, wanted are {manifest.payload.size}")
    for name, data, wanted in (("payload", payload, manifest.payload.sha256), ("golden file", golden, manifest.golden)):
        found = None if data is None else _sha256(data)
        if found != wanted:
            raise DigestMismatch(f"the {name} of {digest} has the SHA-256 {found}, wanted is {wanted}")
    return Delta(digest, manifest, payload, golden)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
