"""Blobs and records on a shared volume, in Redis or in S3. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping

from viridian_model.store.protocol import (
    Absent,
    Conflict,
    Record,
    Store,
    StoreError,
    StoreRefused,
    StoreUnavailable,
    Versioned,
)

__all__ = [
    "Absent",
    "Conflict",
    "Record",
    "Store",
    "StoreError",
    "StoreRefused",
    "StoreUnavailable",
    "Versioned",
    "open_store",
]


def open_store(url: str, environ: Mapping[str, str]) -> Store:
    """Open the store of an address (``VIRIDIAN_STORE``); credentials are taken from ``environ``.

    Raises:
        ValueError: the address is not one, or holds a credential; says what to write instead.
    """
    raise NotImplementedError
