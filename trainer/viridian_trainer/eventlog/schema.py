"""Strict reading of events by the schema that the ModelUpdate declares."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from viridian_model.schema import Schema
from viridian_trainer.eventlog.log import Record


@dataclass(frozen=True, slots=True)
class Event:
    """One labelled impression; ``time`` in seconds since the epoch, ``label`` 0 or 1.

    ``features`` holds every declared categorical (string or integer) and numeric field.
    """

    id: str
    time: float
    user: str
    item: str
    label: int
    features: Mapping[str, Any]


class Unreadable(ValueError):
    """A record that is no event; the message says why."""


def parse(record: Record, schema: Schema) -> Event:
    """The event that ``record`` holds.

    Raises
    ------
    Unreadable
        If a declared field is missing or has another type.
    """
    body = decode(record.payload)
    if problem := schema.problem(body):
        raise Unreadable(problem)
    return Event(
        id=text_of(body, schema.id),
        time=time_of(body, schema.time),
        user=text_of(body, schema.user),
        item=text_of(body, schema.item),
        label=label_of(body, schema.label),
        features={name: body[name] for name in (*schema.categorical, *schema.numeric)},
    )


def decode(payload: bytes | Mapping[str, Any]) -> Mapping[str, Any]:
    """The JSON object of an entry.

    Raises
    ------
    Unreadable
        If it is something else.
    """
    if isinstance(payload, Mapping):
        return payload
    try:
        body = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise Unreadable("field event is not JSON") from error
    if not isinstance(body, dict):
        raise Unreadable("field event is not a JSON object")
    return body


def text_of(body: Mapping[str, Any], name: str) -> str:
    """A string or integer that is not empty.

    Raises
    ------
    Unreadable
        If it is something else.
    """
    value = body.get(name)
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise Unreadable(f"field {name!r} must be a string or an integer")
    return str(value)


def time_of(body: Mapping[str, Any], name: str) -> float:
    """Seconds since the epoch.

    Raises
    ------
    Unreadable
        If it is something else.
    """
    value = body.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Unreadable(f"field {name!r} must be seconds since the epoch")
    if not (math.isfinite(value) and 0 <= value < 1e11):
        raise Unreadable(f"field {name!r} must be seconds since the epoch; milliseconds are not accepted")
    return float(value)


def label_of(body: Mapping[str, Any], name: str) -> int:
    """0 or 1.

    Raises
    ------
    Unreadable
        If it is something else.
    """
    value = body.get(name)
    if not isinstance(value, int | float) or value not in (0, 1):
        raise Unreadable(f"field {name!r} must be 0 or 1")
    return int(value)
