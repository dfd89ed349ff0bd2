"""What can go wrong at the Kubernetes API, as types; an error is never absence."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


class ApiError(Exception):
    """A call that did not succeed.

    Parameters
    ----------
    message
        What the server said, or what happened on the way to it.
    code
        HTTP status; 0 when there was no answer.
    reason
        Machine-readable reason of the server's ``Status``, if it sent one.
    retry_after
        Seconds that the server asked to wait.
    """

    def __init__(self, message: str, *, code: int = 0, reason: str = "", retry_after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.reason = reason
        self.retry_after = retry_after


class NotFound(ApiError):
    """The API server says that the object, or the namespace it would live in, does not exist."""


class Conflict(ApiError):
    """The object changed since it was read, or a precondition on it does not hold."""


class AlreadyExists(Conflict):
    """An object of that name exists."""


class Forbidden(ApiError):
    """The operator's credentials do not allow it; the message names the missing permission."""


class Invalid(ApiError):
    """The server refuses what was sent, and will do so again."""


class Unavailable(ApiError):
    """No answer, or one that says nothing about the object; worth another try later."""


def error_from(code: int, body: str, headers: Mapping[str, str] | None = None) -> ApiError:
    """The typed error for an HTTP answer.

    A 404 without a ``Status`` that names what is missing means that the server does not serve this
    kind (yet): that is no proof of absence and becomes ``Unavailable``.
    """
    status = _status(body)
    message = str(status.get("message") or body.strip()[:500] or f"HTTP status {code}")
    reason = str(status.get("reason") or "")
    if code == 404 and not (status.get("details") or {}).get("name"):
        return Unavailable(f"the API server does not serve this kind: {message}", code=code, reason=reason)
    kind = AlreadyExists if reason == "AlreadyExists" else _kind(code)
    return kind(message, code=code, reason=reason, retry_after=_retry_after(headers or {}))


def _kind(code: int) -> type[ApiError]:
    if code in (401, 403):
        return Forbidden
    if code == 404:
        return NotFound
    if code == 409:
        return Conflict
    if code in (408, 410, 429) or code >= 500:
        return Unavailable
    return Invalid


def _status(body: str) -> dict[str, Any]:
    try:
        parsed = json.loads(body)
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) and parsed.get("kind") == "Status" else {}


def _retry_after(headers: Mapping[str, str]) -> float | None:
    try:
        return float(headers["Retry-After"])
    except (KeyError, ValueError):
        return None
