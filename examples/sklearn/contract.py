"""Viridian's contract for Jobs (docs/reference/contracts.md), as far as this image uses it."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

Json = dict[str, Any]


class Failure(Exception):
    """A failure with the exit code and reason of the contract."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code, self.reason = code, reason


def variable(name: str) -> Any:
    """A JSON variable of the environment."""
    try:
        return json.loads(os.environ[name])
    except (KeyError, ValueError):
        raise Failure(64, "BadUsage", f"environment variable {name} is missing or not JSON") from None


def report(result: Json) -> None:
    """The last thing a Job writes."""
    path = Path(os.environ.get("VIRIDIAN_TERMINATION_LOG", "/dev/termination-log"))
    path.write_bytes(canonical(result)[:4096])


def canonical(value: Any) -> bytes:
    """Canonical JSON."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def text(value: Any) -> str:
    """Canonical JSON as the value of a tag."""
    return canonical(value).decode()


def digest_of(value: Any) -> str:
    """Digest of canonical JSON, as that of a bundle over its manifest."""
    return "sha256:" + hashlib.sha256(canonical(value)).hexdigest()


def update_tag() -> str:
    """By this a retried Job finds the version that it registered before."""
    update = variable("VIRIDIAN_UPDATE")
    return f"{update['uid']}/{update['number']}"
