"""Canonical JSON and the digests made from it."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def canonical_json(obj: Any) -> bytes:
    """Encode ``obj`` with sorted keys, no spaces, no trailing newline and non-ASCII escaped.

    Raises:
        ValueError: NaN or infinity, which JSON cannot hold.
        TypeError: a value that is not JSON.
    """
    text = json.dumps(obj, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return text.encode("ascii")


def digest_of(obj: Any) -> str:
    """Return ``sha256:<hex>`` of the canonical JSON of ``obj``."""
    return "sha256:" + hashlib.sha256(canonical_json(obj)).hexdigest()


def directory_name(digest: str) -> str:
    """Return the name of a bundle in a store: its digest without ``sha256:``.

    Raises:
        ValueError: it is no digest.
    """
    if not DIGEST.fullmatch(digest):
        raise ValueError(f"{digest!r} is not of the form sha256:<64 hex digits>")
    return digest.removeprefix("sha256:")


def sha256_of_file(path: Path) -> str:
    """Return the SHA-256 of a file in hex, read in pieces."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
