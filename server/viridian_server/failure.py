"""Why a load cannot succeed, and how the process says so when it ends."""

from __future__ import annotations

import json
from pathlib import Path

EXIT_BAD_DATA = 65
EXIT_TEMPORARY = 75
EXIT_BAD_CONFIG = 78

EXIT_CODES = {
    "DigestMismatch": EXIT_BAD_DATA,
    "BadBundle": EXIT_BAD_DATA,
    "WarmupFailed": EXIT_BAD_DATA,
    "Corrupted": EXIT_BAD_DATA,
    "VersionMissing": EXIT_BAD_DATA,
    "DoesNotFit": EXIT_BAD_DATA,
    "RegistryUnreachable": EXIT_TEMPORARY,
    "BadConfig": EXIT_BAD_CONFIG,
}
_LIMIT = 4096


class LoadFailure(Exception):
    """The wanted model cannot be served; ``reason`` is a key of `EXIT_CODES`, ``message`` one sentence."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message

    @property
    def exit_code(self) -> int:
        """Exit code of the contract."""
        return EXIT_CODES[self.reason]

    def to_json(self) -> dict[str, str]:
        """Return ``{"reason", "message"}``."""
        return {"reason": self.reason, "message": self.message}


def write_termination_log(path: Path, failure: LoadFailure) -> None:
    """Leave the failure where kubelet reads it, at most 4096 bytes.

    Raises:
        OSError: the file cannot be written.
    """
    message = failure.message
    while len(text := json.dumps({"error": {"reason": failure.reason, "message": message}})) > _LIMIT:
        message = message[: len(message) * 3 // 4]
    path.write_text(text, encoding="ascii")


def clear_termination_log(path: Path) -> None:
    """Take `write_termination_log` back; the file itself belongs to kubelet.

    Raises:
        OSError: the file cannot be written.
    """
    path.write_text("", encoding="ascii")
