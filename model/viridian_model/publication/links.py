"""Deltas in a store: written so that what is not whole is not there, read so that what is wrong has a name."""

from __future__ import annotations

from enum import StrEnum

from viridian_model.chain.delta import Delta, DeltaManifest, read_delta, read_manifest
from viridian_model.errors import BundleError, DigestMismatch
from viridian_model.publication import keys
from viridian_model.store.protocol import Absent, Store


class Fault(StrEnum):
    """What is wrong with a link."""

    MISSING = "Missing"
    CORRUPTED = "Corrupted"
    TRUNCATED = "Truncated"
    REORDERED = "Reordered"


class BrokenLink(Exception):
    """A link of a chain cannot be used."""

    def __init__(self, fault: Fault, digest: str, message: str) -> None:
        super().__init__(f"{digest}: {message}")
        self.fault, self.digest = fault, digest


def put_delta(store: Store, chain: str, delta: Delta) -> None:
    """Write a delta, the manifest last; what stands there already is left."""
    store.put_new(keys.payload(chain, delta.digest), delta.payload)
    if delta.golden is not None:
        store.put_new(keys.golden(chain, delta.digest), delta.golden)
    store.put_new(keys.manifest(chain, delta.digest), delta.manifest.encode())


def fetch_manifest(store: Store, chain: str, digest: str) -> DeltaManifest:
    """Fetch and verify the manifest of a delta.

    Raises:
        BrokenLink: it is missing or corrupted.
    """
    data = _get(store, keys.manifest(chain, digest), digest)
    try:
        return read_manifest(data, digest)
    except BundleError as error:
        raise BrokenLink(Fault.CORRUPTED, digest, error.message) from error


def fetch_delta(store: Store, chain: str, digest: str, manifest: DeltaManifest) -> Delta:
    """Fetch the other files of a delta and verify them.

    Raises:
        BrokenLink: one is missing, corrupted or truncated.
    """
    payload = _get(store, keys.payload(chain, digest), digest)
    golden = _get(store, keys.golden(chain, digest), digest) if manifest.golden else None
    try:
        return read_delta(digest, manifest, payload, golden)
    except DigestMismatch as error:
        short = len(payload) < manifest.payload.size
        raise BrokenLink(Fault.TRUNCATED if short else Fault.CORRUPTED, digest, error.message) from error


def _get(store: Store, key: str, digest: str) -> bytes:
    try:
        return store.get(key)
    except Absent as error:
        raise BrokenLink(Fault.MISSING, digest, str(error)) from error
