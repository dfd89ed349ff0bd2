"""A line of JSON and a point in the run every few seconds."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from viridian_trainer.training.learner import Counts

#: Receives metrics by name and the number of events trained on.
Report = Callable[[Mapping[str, float], int], None]
#: Receives the number of events trained on and the number of entries of the window after every step.
Watch = Callable[[int, int], None]


@dataclass(frozen=True)
class Observer:
    """Who wants to know how training goes on: a run every few seconds, a person at every step."""

    report: Report | None = None
    watch: Watch | None = None


NOBODY = Observer()
_log = logging.getLogger(__name__)


class Progress:
    """Reports the events per second and the progressive log loss since the last report, in intervals of
    seconds.
    """

    def __init__(self, observer: Observer, total: int, interval: float = 5.0) -> None:
        self._observer, self._total, self._interval = observer, total, interval
        self._since, self._events, self._loss = time.monotonic(), 0, 0.0
        self._begun = False

    def update(self, counts: Counts, final: bool = False) -> None:
        """Look at the clock, and report if the interval is over or ``final`` is set."""
        now = time.monotonic()
        if self._observer.watch:
            self._observer.watch(counts.trained, self._total)
        if not self._begun:
            self._begun, self._events, self._loss = True, counts.trained, counts.loss
        events = counts.trained - self._events
        if events <= 0 or not (final or now - self._since >= self._interval):
            return
        metrics = {
            "events_per_second": round(events / max(now - self._since, 1e-9), 1),
            "interval_logloss": round((counts.loss - self._loss) / events, 6),
        }
        _log.info("training", extra={"events": counts.trained, "entries_total": self._total, **metrics})
        if self._observer.report:
            self._observer.report(metrics, counts.trained)
        self._since, self._events, self._loss = now, counts.trained, counts.loss
