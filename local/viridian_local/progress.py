"""Progress of long steps on standard error, so that standard output stays free for answers."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

REPORT_EVERY = 15.0


class Step:
    """A running step; ``say`` reports at most every few seconds, so that logs stay short."""

    def __init__(self, what: str) -> None:
        self.what = what
        self._started = time.monotonic()
        self._reported = self._started

    @property
    def elapsed(self) -> float:
        """Seconds since the step began."""
        return time.monotonic() - self._started

    def say(self, detail: str) -> None:
        """Report ``detail`` with the elapsed time, unless the last report was just now."""
        now = time.monotonic()
        if now - self._reported >= REPORT_EVERY:
            self._reported = now
            write(f"   … {self.what}: {detail} ({self.elapsed:.0f} s)")


_silent = False


def silence() -> None:
    """Write no more progress; errors are still told."""
    global _silent
    _silent = True


def write(line: str) -> None:
    """Write one line for people."""
    if not _silent:
        print(line, file=sys.stderr, flush=True)


@contextmanager
def step(what: str) -> Iterator[Step]:
    """Announce a step, and say how long it took when it went well."""
    write(f" · {what}")
    running = Step(what)
    yield running
    if running.elapsed >= 1:
        write(f"   {what}: done in {running.elapsed:.0f} s")
