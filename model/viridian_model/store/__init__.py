"""Blobs and records on a shared volume, in Redis or in S3. Needs no torch."""

from __future__ import annotations

from viridian_model.store.address import open_store
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
