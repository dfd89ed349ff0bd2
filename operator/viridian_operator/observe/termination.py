"""Termination messages: one JSON object by contract, log lines where the contract was broken."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_TAIL = 300


def parse_message(text: str | None) -> Mapping[str, Any] | None:
    """The JSON object that a container left behind; None if it left none.

    With ``FallbackToLogsOnError`` the kubelet puts the last log lines there, so the last line counts too.
    """
    lines = (text or "").strip().splitlines()
    for candidate in ((text or "").strip(), lines[-1].strip() if lines else ""):
        if not candidate.startswith("{"):
            continue
        try:
            found = json.loads(candidate)
        except ValueError:
            continue
        if isinstance(found, dict):
            return found
    return None


def error_of(message: Mapping[str, Any] | None) -> tuple[str, str]:
    """Reason and sentence of ``{"error": {"reason", "message"}}``; empty if there is none."""
    error = (message or {}).get("error")
    if not isinstance(error, Mapping):
        return "", ""
    return str(error.get("reason") or ""), str(error.get("message") or "")


def for_people(terminated: Mapping[str, Any]) -> str:
    """Why a container ended, in one line."""
    reason, sentence = error_of(parse_message(terminated.get("message")))
    if reason or sentence:
        return f"{reason}: {sentence}" if reason and sentence else reason or sentence
    code = terminated.get("exitCode")
    tail = " ".join((terminated.get("message") or "").split())[-_TAIL:]
    return (
        f"exit code {code}: {tail}" if tail else f"exit code {code} ({terminated.get('reason') or 'no reason given'})"
    )
