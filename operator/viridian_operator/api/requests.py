"""Requests of people and tools: the annotation ``viridian.dev/request: verb[/number]/nonce``."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verb(StrEnum):
    """What can be asked for."""

    RUN = "run"
    RETRAIN = "retrain"
    PROMOTE = "promote"
    APPROVE = "approve"
    REJECT = "reject"
    ABORT = "abort"
    RETRY = "retry"
    SKIP_WINDOW = "skip-window"
    ROLLBACK = "rollback"
    UNQUARANTINE = "unquarantine"


#: Characters of a whole request, so that it fits into status and Events.
LENGTH_LIMIT = 253
_REASON_LENGTH = 3

#: Verbs that judge one update and therefore carry its number.
NUMBERED = frozenset({Verb.PROMOTE, Verb.APPROVE, Verb.REJECT, Verb.ABORT})


@dataclass(frozen=True)
class ParsedRequest:
    """A request: ``text`` is what ``status.lastRequest`` acknowledges."""

    text: str
    verb: Verb
    number: int | None
    argument: str


def parse_request(text: str) -> ParsedRequest:
    """Read ``verb/nonce``, ``verb/number/nonce``, ``unquarantine/digest/nonce`` or ``skip-window/reason/nonce``.

    Raises
    ------
    ValueError
        With a sentence that says what to write instead.
    """
    if len(text.strip()) > LENGTH_LIMIT:
        raise ValueError(
            f"a request has at most {LENGTH_LIMIT} characters, this one has {len(text.strip())}: shorten it"
        )
    parts = text.strip().split("/")
    try:
        verb = Verb(parts[0])
    except ValueError:
        known = ", ".join(v.value for v in Verb)
        raise ValueError(f"unknown request {parts[0]!r}; use one of {known}, e.g. run/7f3a") from None
    if len(parts) < 2 or not parts[-1]:
        raise ValueError(f"a request ends with a nonce of your choice, e.g. {verb}/7f3a")
    if verb in NUMBERED:
        if len(parts) != 3 or not parts[1].isdigit():
            raise ValueError(f"{verb} judges one update and carries its number, e.g. {verb}/17/7f3a")
        return ParsedRequest(text.strip(), verb, int(parts[1]), "")
    if verb is Verb.UNQUARANTINE:
        if len(parts) != 3:
            raise ValueError("name the digest or version, e.g. unquarantine/41/7f3a")
        return ParsedRequest(text.strip(), verb, None, parts[1])
    if verb is Verb.SKIP_WINDOW:
        reason = "/".join(parts[1:-1]).strip()
        if len(reason) < _REASON_LENGTH:
            raise ValueError("say why its events are given up, e.g. skip-window/bot traffic on 3 May/7f3a")
        return ParsedRequest(text.strip(), verb, None, reason)
    return ParsedRequest(text.strip(), verb, None, "")
