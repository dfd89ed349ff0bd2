"""Durations as people write them in manifests: ``90s``, ``15m``, ``1h30m``, ``2d``."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

from viridian_operator.api.validation import DURATION, RULES

PATTERN = r"^([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?$"
_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}


def parse_duration(text: str | timedelta) -> timedelta:
    """The duration that ``text`` names.

    Raises
    ------
    ValueError
        If ``text`` is not a duration; the message shows one.
    """
    if isinstance(text, timedelta):
        return text
    if not text or not re.fullmatch(PATTERN, text):
        raise ValueError(f"{text!r} is not a duration; write for example 30s, 15m or 1h30m")
    return timedelta(seconds=sum(int(n) * _UNITS[u] for n, u in re.findall(r"([0-9]+)([dhms])", text)))


def format_duration(duration: timedelta) -> str:
    """The shortest text that ``parse_duration`` reads back as ``duration`` (whole seconds)."""
    rest, parts = int(duration.total_seconds()), []
    for unit, size in _UNITS.items():
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration),
    WithJsonSchema({"type": "string", "pattern": PATTERN, "minLength": 2, "maxLength": 20, RULES: [DURATION]}),
]
