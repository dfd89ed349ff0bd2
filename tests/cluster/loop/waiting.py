"""Looking again until something holds, for what cannot be watched."""

from __future__ import annotations

import time
from collections.abc import Callable

INTERVAL = 0.5


def until[T](look: Callable[[], T], seconds: float, what: str) -> T:
    """The first truthy answer of ``look``; fails after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds:.0f} s"
        time.sleep(INTERVAL)
    return found


def steady[T](look: Callable[[], T], seconds: float, within: float, what: str) -> T:
    """The answer of ``look`` once it has stayed the same for ``seconds``; fails after ``within``."""
    deadline = time.monotonic() + within
    answer, since = look(), time.monotonic()
    while time.monotonic() < since + seconds:
        assert time.monotonic() < deadline, f"{what}: still changing after {within:.0f} s: {answer}"
        time.sleep(INTERVAL)
        if (found := look()) != answer:
            answer, since = found, time.monotonic()
    return answer
