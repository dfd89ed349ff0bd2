"""What can go wrong at an event log, as types; an error is never an empty log."""

from __future__ import annotations


class SourceError(Exception):
    """Heads could not be read; the message never holds credentials."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Unauthorized(SourceError):
    """The log refuses the credentials, or what they ask for."""


class Unavailable(SourceError):
    """No answer; worth another try later."""


class Invalid(SourceError):
    """What is there cannot be used as an event log."""
