"""Errors of the model package: a reason of the contract and one sentence that says what is wrong."""

from __future__ import annotations

from typing import ClassVar


class BundleError(Exception):
    """A bundle cannot be used. ``reason`` is the word that goes into the termination log."""

    reason: ClassVar[str] = "BadBundle"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class BadBundle(BundleError):
    """A file is missing, malformed or names something that cannot be loaded."""

    reason = "BadBundle"


class DigestMismatch(BundleError):
    """A file or the manifest is not the one that was asked for."""

    reason = "DigestMismatch"


class WarmupFailed(BundleError):
    """The loaded model does not answer the golden requests as the trainer did."""

    reason = "WarmupFailed"


class BadDelta(BundleError):
    """A delta is malformed, or not one of this model or this state."""

    reason = "BadDelta"


class InputError(ValueError):
    """Rows or inference inputs do not fit the schema; the text says what to send instead."""
