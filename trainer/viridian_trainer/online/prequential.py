"""Every event predicted before it is trained on, by the online weights and by the champion, over a sliding window.

Gama, Sebastião, Rodrigues, "On evaluating stream learning algorithms", Machine Learning 90 (2013).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from viridian_model.schema import Schema
from viridian_trainer.gate.metrics import metrics_of, rounded
from viridian_trainer.gate.scoring import Holdout, Scores, joined
from viridian_trainer.gate.slices import Mask, fields_of, masks
from viridian_trainer.spec import Slice

ONLINE, CHAMPION = "online", "champion"
SHOWN = ("logloss", "auroc", "accuracy", "recall")


@dataclass(frozen=True)
class Predictions:
    """One step: its events ``[n]`` and the answers of both models to them."""

    events: Holdout
    scores: Mapping[str, Scores]


class Prequential:
    """The newest ``window`` events (whole steps, so a few more); read by another thread than the one that adds."""

    def __init__(self, window: int, slices: list[Slice], schema: Schema) -> None:
        self.fields = fields_of(slices, schema)
        self._window, self._slices, self._schema = window, slices, schema
        self._steps: deque[Predictions] = deque()
        self._events = 0
        self._lock = threading.Lock()

    def add(self, step: Predictions) -> None:
        """Add a step, and forget the oldest that are not needed any more."""
        with self._lock:
            self._steps.append(step)
            self._events += len(step.events)
            while self._events - len(self._steps[0].events) >= self._window:
                self._events -= len(self._steps.popleft().events)

    def clear(self) -> None:
        """Begin anew, with another champion or other weights."""
        with self._lock:
            self._steps.clear()
            self._events = 0

    def summary(self) -> dict[str, Any]:
        """Metrics of both models on the same events, on all of them and by slice."""
        with self._lock:
            steps = list(self._steps)
        if not steps:
            return {ONLINE: {}, CHAMPION: {}, "events": 0, "slices": {}}
        found = _together(steps)
        everything = np.ones(len(found.events), dtype=np.bool_)
        chosen = masks(self._slices, found.events, found.scores[CHAMPION], self._schema)
        return {
            **_metrics(found, everything),
            "events": len(found.events),
            "slices": {name: {**_metrics(found, mask), "events": int(mask.sum())} for name, mask in chosen.items()},
        }


def _together(steps: list[Predictions]) -> Predictions:
    events, scores = steps[0].events, dict(steps[0].scores)
    for step in steps[1:]:
        events = joined(events, step.events)
        scores = {name: scores[name].followed_by(given) for name, given in step.scores.items()}
    return Predictions(events, scores)


def _metrics(found: Predictions, mask: Mask) -> dict[str, dict[str, float]]:
    if not mask.any():
        return {ONLINE: {}, CHAMPION: {}}
    labels = found.events.labels[mask]
    values = {name: rounded(metrics_of(given.logits[mask], labels)) for name, given in found.scores.items()}
    return {name: {metric: given[metric] for metric in SHOWN if metric in given} for name, given in values.items()}
