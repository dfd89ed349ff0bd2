"""When the loss of what serves has risen: ADWIN over single losses.

Bifet and Gavaldà, *Learning from Time-Changing Data with Adaptive Windowing*, SDM 2007, as implemented by river.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from river.drift import ADWIN

#: Nats; what an event costs beyond is cut off: ADWIN's bound is for bounded values, and a wild prediction is no drift.
LARGEST_LOSS = 2.5


#: Losses of which the newest rise is told, and which a monitor begins with after a restart.
MEMORY = 10_000
#: A rise is told of at least so many events.
SHORTEST = 16


@dataclass(frozen=True)
class Rise:
    """Mean log loss before and after (what an event costs beyond ``LARGEST_LOSS`` is cut off), and how many of the
    newest events make up ``after``.
    """

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
        self._begin()

    def _begin(self) -> None:
        self._adwin = ADWIN(delta=self._delta)
        self._recent: deque[float] = deque(maxlen=MEMORY)

    def replay(self, losses: Iterable[float]) -> None:
        """Be as after these losses, of which all news was told before."""
        for loss in losses:
            self.add(loss)

    def add(self, loss: float) -> Rise | None:
        """The loss of the next event in nats; a rise, if it shows one."""
        bounded = min(loss, LARGEST_LOSS)
        self._recent.append(bounded)
        before = self._adwin.estimation
        self._adwin.update(bounded / LARGEST_LOSS)
        if not self._adwin.drift_detected or self._adwin.estimation <= before:
            return None
        rise = _told(np.array(self._recent))
        self._begin()
        return rise


def _told(losses: NDArray[np.float64]) -> Rise:
    """Means of both sides of the likeliest change of the mean, which ADWIN's own window ends only somewhere before.

    It is the split with the greatest difference of means in units of its standard error (Hinkley, Biometrika 57, 1970).
    """
    total, length = np.cumsum(losses), len(losses)
    sizes = np.arange(1, length)
    after, before = (total[-1] - total[:-1]) / (length - sizes), total[:-1] / sizes
    weight = np.sqrt(sizes * (length - sizes))
    possible = slice(0, max(1, length - SHORTEST))
    split = int(np.argmax(((after - before) * weight)[possible]))
    return Rise(float(before[split]), float(after[split]), length - int(sizes[split]))
