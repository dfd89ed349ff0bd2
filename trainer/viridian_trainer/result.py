"""The last words of a task: one JSON object of at most 4096 bytes in the termination log."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from viridian_trainer.errors import BadData, TaskError

LIMIT_BYTES = 4096
DEFAULT_PATH = "/dev/termination-log"

_CREDENTIALS = re.compile(r"(?<=://)[^/\s@]+@")
_OPTIONAL = ("metrics", "seconds", "difference")


def without_credentials(text: str) -> str:
    """``text`` with the user part of every URL removed."""
    return _CREDENTIALS.sub("", text)


def failure(task: str, error: BaseException) -> tuple[dict[str, Any], int]:
    """Result and exit code for ``error``; unexpected exceptions show their class and message."""
    if isinstance(error, TaskError):
        reason, message, code = error.reason, error.message, error.exit_code
    else:
        reason, message, code = "Crashed", f"{type(error).__name__}: {error}", 1
    message = " ".join(without_credentials(message).split())
    counts = {"events": error.events} if isinstance(error, BadData) and error.events else {}
    return {"task": task, "error": {"reason": reason, "message": message}, **counts}, code


def encode(result: Mapping[str, Any]) -> bytes:
    """``result`` as JSON of at most 4096 bytes.

    What does not fit is given up in this order: the ends of messages, the tail of ``failed``, then optional
    numbers. Everything the operator decides from (version, digest, offsets, verdict) is always kept.

    Raises
    ------
    ValueError
        If the required fields alone are too large (more partitions than a termination message can name).
    """
    kept = dict(result)
    for size in (1000, 300, 80):
        if len(text := _dump(kept)) <= LIMIT_BYTES:
            return text
        kept = _shortened(kept, size)
    for name in _OPTIONAL:
        if len(text := _dump(kept)) <= LIMIT_BYTES:
            return text
        kept.pop(name, None)
    if len(text := _dump(kept)) > LIMIT_BYTES:
        raise ValueError(f"the result has {len(text)} bytes; a termination message holds {LIMIT_BYTES}")
    return text


def write(result: Mapping[str, Any], path: str | None = None) -> None:
    """Write ``result`` where the kubelet (or ``VIRIDIAN_TERMINATION_LOG``) looks for it."""
    target = Path(path or os.environ.get("VIRIDIAN_TERMINATION_LOG", DEFAULT_PATH))
    try:
        target.write_bytes(encode(result))
    except OSError as error:
        logging.getLogger(__name__).error("cannot write the termination message to %s: %s", target, error)


def _dump(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str).encode()


def _shortened(result: dict[str, Any], size: int) -> dict[str, Any]:
    """Messages cut to ``size`` characters, ``failed`` to eight names."""
    cut = {key: value[:size] if key == "message" and isinstance(value, str) else value for key, value in result.items()}
    if isinstance(error := cut.get("error"), dict):
        cut["error"] = {**error, "message": str(error.get("message", ""))[:size]}
    if isinstance(failed := cut.get("failed"), list) and len(failed) > 8:
        cut["failed"] = [str(name)[:size] for name in failed[:8]] + [f"and {len(failed) - 8} more"]
    return cut
