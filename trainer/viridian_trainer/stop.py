"""Being asked to stop: SIGTERM ends training at a batch border, and everything else at once."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from viridian_trainer.errors import Stopped


class StopRequest:
    """Remembers SIGTERM; outside ``deferred`` blocks it interrupts what runs.

    Reading, waiting for the registry or judging can be cut anywhere, since a new attempt repeats them.
    Training cannot: it looks at ``requested`` between batches and writes a checkpoint first.
    """

    def __init__(self) -> None:
        self.requested = False
        self._deferred = False

    def install(self) -> None:
        """Handle SIGTERM and SIGINT from now on; must run in the main thread."""
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Within this block a signal is only remembered."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False

    def request(self) -> None:
        """Ask for a stop as SIGTERM does, without interrupting."""
        self.requested = True

    def check(self) -> None:
        """Raise ``Stopped`` if a stop was requested."""
        if self.requested:
            self.end()

    def end(self) -> NoReturn:
        """Raise ``Stopped``."""
        raise Stopped("stopped on request; the next attempt continues from the last checkpoint")

    def pause(self, seconds: float) -> None:
        """Wait, in any thread; raises ``Stopped`` if a stop was requested before."""
        self.check()
        time.sleep(seconds)

    def _on_signal(self, _signum: int, _frame: FrameType | None) -> None:
        self.requested = True
        if not self._deferred:
            self.end()
