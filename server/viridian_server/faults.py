"""Faults on demand, for tests and demonstrations of rollback. Nothing here runs unless ``VIRIDIAN_FAULT`` is set.

``VIRIDIAN_FAULT`` is a JSON object; times are seconds since the model became ready:

``{"fail_after": {"seconds_ready": 20, "status": 500}}``
    inference is answered with this status;
``{"unready_after": 20}``
    readiness is answered with 503;
``{"crash_after_ready": 5}``
    the process ends with exit code 1;
``{"oom_after_ready": 5}``
    the process takes memory until it is killed;
``{"slow": 0.2}``
    every inference takes that much longer;
``{"flip_bit_after": 20}``
    a bit of a table in memory is flipped, in a pod that follows a store.
"""

from __future__ import annotations

import os
import threading
import time
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Seconds = Annotated[float, Field(ge=0)]


class FailAfter(BaseModel):
    """When inference starts to fail and how."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seconds_ready: Seconds
    status: int = Field(default=500, ge=400, le=599)


class Faults(BaseModel):
    """The faults that are to happen."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fail_after: FailAfter | None = None
    unready_after: Seconds | None = None
    crash_after_ready: Seconds | None = None
    oom_after_ready: Seconds | None = None
    flip_bit_after: Seconds | None = None
    slow: Seconds = 0.0

    @classmethod
    def parse(cls, text: str) -> Faults:
        """Parse the variable; a `ValueError` says what is wrong."""
        return cls.model_validate_json(text)

    def failing_status(self, ready_for: float) -> int | None:
        """Return the status that inference fails with ``ready_for`` seconds after ready, or None."""
        if self.fail_after is not None and ready_for >= self.fail_after.seconds_ready:
            return self.fail_after.status
        return None

    def unready(self, ready_for: float) -> bool:
        """Say whether readiness is to fail."""
        return self.unready_after is not None and ready_for >= self.unready_after

    def start(self) -> None:
        """Start the clocks of those faults that end the process; called when the model is ready."""
        for delay, act in ((self.crash_after_ready, _crash), (self.oom_after_ready, _take_memory)):
            if delay is not None:
                timer = threading.Timer(delay, act)
                timer.daemon = True
                timer.start()


def _crash() -> None:
    os._exit(1)


def _take_memory() -> None:
    taken = []
    while True:
        taken.append(b"\1" * (16 << 20))
        time.sleep(0.01)
