"""Waiting for a condition, with a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable

DEADLINE = 300.0
_PAUSE = 0.005


def until(condition: Callable[[], object], otherwise: str, seconds: float = DEADLINE) -> None:
    """Wait until ``condition`` holds.

    Raises
    ------
    TimeoutError
        With ``otherwise``, if it did not within ``seconds``.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(otherwise)
        time.sleep(_PAUSE)
