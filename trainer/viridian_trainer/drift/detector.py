"""When the loss of what serves has risen: ADWIN over single losses.

Bifet and Gavaldà, *Learning from Time-Changing Data with Adaptive Windowing*, SDM 2007, as implemented by river.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from river.drift import ADWIN

#: Nats; what an event costs beyond is cut off: ADWIN's bound is for bounded values, and a wild prediction is no drift.
LARGEST_LOSS = 2.5


@dataclass(frozen=True)
class Rise:
    """Mean log loss before and after, and how many of the newest events have made up ``after``."""

    before: float
    after: float
    events: int


class RiseDetector:
    """Tells each rise once.

    ADWIN also notices that a loss has fallen, as after an update, and goes on with the newer part of its window; that
    is no news. After a rise it begins anew: its window would hold a part of what was before, which would make the
    same rise found again.

    Parameters
    ----------
    delta
        Of ADWIN: bounds the probability of a false alarm.
    """

    def __init__(self, delta: float) -> None:
        self._delta = delta
        self._adwin = ADWIN(delta=delta)

    def replay(self, losses: Iterable[float]) -> None:
        """Be as after these losses, of which all news was told before."""
        for loss in losses:
            self.add(loss)

    def add(self, loss: float) -> Rise | None:
        """The loss of the next event in nats; a rise, if it shows one."""
        scaled, window = min(loss, LARGEST_LOSS) / LARGEST_LOSS, self._adwin
        width, total = window.width, window.total
        window.update(scaled)
        if not window.drift_detected:
            return None
        dropped = width + 1 - window.width
        before, after = (total + scaled - window.total) / dropped, window.estimation
        if after <= before:
            return None
        self._adwin = ADWIN(delta=self._delta)
        return Rise(before * LARGEST_LOSS, after * LARGEST_LOSS, int(window.width))
