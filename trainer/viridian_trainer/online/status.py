"""What the trainer tells about itself; written by its thread, read by that of the server."""

from __future__ import annotations

import threading
import time
from typing import Any, Literal

State = Literal["Starting", "Publishing", "Stopped", "Shadow"]


class Status:
    """The answer of ``GET /viridian/v1/online`` but for the prequential part, which is computed on demand."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: dict[str, Any] = {"state": "Starting", "error": None}
        self._seen = time.monotonic()
        #: set whenever something was told, for a reader that waits and clears it
        self.changed = threading.Event()

    def tell(self, **values: Any) -> None:
        """Replace values; the trainer is alive."""
        with self._lock:
            self._values |= values
            self._seen = time.monotonic()
        self.changed.set()

    def read(self) -> dict[str, Any]:
        """All values."""
        with self._lock:
            return dict(self._values)

    @property
    def age(self) -> float:
        """Seconds since the trainer told something."""
        with self._lock:
            return time.monotonic() - self._seen
