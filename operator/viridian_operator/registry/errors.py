"""What can go wrong at the registry, as types; an error is never absence."""

from __future__ import annotations


class RegistryError(Exception):
    """A call that did not succeed; the message never holds credentials."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class NotFound(RegistryError):
    """The registry says that the model, version or alias does not exist."""


class Unauthorized(RegistryError):
    """The registry refuses the credentials, or what they ask for."""


class Unavailable(RegistryError):
    """No answer, or one that says nothing about the model; worth another try later."""


class Invalid(RegistryError):
    """The registry refuses the request, and will do so again."""
