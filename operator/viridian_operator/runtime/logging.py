"""Logs as one JSON object per line, with the fields of the pass that wrote them."""

from __future__ import annotations

import contextvars
import json
import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from viridian_operator.api.base import rfc3339

_PASS: contextvars.ContextVar[Mapping[str, Any]] = contextvars.ContextVar("pass", default={})  # noqa: B039

#: Libraries that tell at INFO what nobody asked for.
QUIET = ("kopf", "aiohttp", "asyncio", "kubernetes", "redis")


class JsonFormatter(logging.Formatter):
    """Formats records; ``extra={"fields": {...}}`` adds fields of one line."""

    def format(self, record: logging.LogRecord) -> str:
        """One line of JSON."""
        line: dict[str, Any] = {
            "time": rfc3339(datetime.fromtimestamp(record.created, UTC)),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= _PASS.get()
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


@contextmanager
def bound(**fields: Any) -> Iterator[None]:
    """Put ``fields`` on every line of the present task while the block runs."""
    token = _PASS.set({**_PASS.get(), **fields})
    try:
        yield
    finally:
        _PASS.reset(token)


def bind(**fields: Any) -> None:
    """Put ``fields`` on every line until the surrounding ``bound`` ends, e.g. uid, generation and phase."""
    _PASS.set({**_PASS.get(), **fields})


def configure(level: str) -> None:
    """Send everything to standard error as JSON; libraries only from WARNING on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    # At DEBUG kopf's object logger writes whole bodies of objects.
    logging.getLogger("kopf.objects").setLevel(logging.WARNING)
