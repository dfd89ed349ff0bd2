"""Follows the event log, has what serves predict each new event, and notices when its loss rises."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from itertools import islice

from viridian_model.schema import Schema
from viridian_trainer.drift.detector import Rise, RiseDetector
from viridian_trainer.drift.service import ActiveService, Answers
from viridian_trainer.drift.state import MonitorState, Round
from viridian_trainer.errors import DataTrimmed
from viridian_trainer.eventlog import Event, EventLog, Offset, Window, count_before, read

_log = logging.getLogger(__name__)

#: Events of one request.
BATCH = 256
#: No probability counts as surer than this, so that a loss is finite.
SMALLEST = 1e-7
#: Watermarks are told in milliseconds.
RESOLUTION = 0.001


class Monitor:
    """One step at a time; what it knows is in ``state``, so that it may be killed anywhere.

    An event is scored if what predicted it cannot have trained on it: if its time lies behind the newest event that
    the version was trained on, as each answer says. The others are left out, which after a long pause may be many.
    """

    def __init__(
        self, log: EventLog, schema: Schema, service: ActiveService, state: MonitorState, delta: float
    ) -> None:
        self._log, self._schema, self._service, self._state = log, schema, service, state
        self._detector = RiseDetector(delta)
        offsets, losses, self._detections = state.load()
        self._detector.replay(losses)
        if offsets is None:
            offsets = log.heads()
            state.save(Round(offsets))
        self._offsets = offsets

    def step(self) -> int:
        """Score up to ``BATCH`` entries; gives how many were read.

        Raises
        ------
        NotTold
            If what serves gave no predictions; the same entries come again.
        Overtaken
            If another monitor does the same.
        """
        try:
            entries = list(islice(read(self._log, self._unread(), self._schema), BATCH))
        except DataTrimmed:
            entries = []  # trimmed between two reads: the next step begins behind it
        if not entries:
            return 0
        offsets = self._offsets | {entry.partition: entry.offset_after for entry in entries}
        done = self._scored(offsets, [entry.event for entry in entries if entry.event is not None])
        self._state.save(done)
        self._offsets = offsets
        return len(entries)

    def _unread(self) -> Window:
        """Entries after the last step; those that were trimmed meanwhile, and another log, are passed over."""
        heads, earliest = self._log.heads(), self._log.earliest()
        start = {p: self._position(self._offsets.get(p), heads[p], earliest[p]) for p in heads}
        self._offsets = start
        return Window(start, heads)

    @staticmethod
    def _position(last: Offset | None, head: Offset, earliest: Offset) -> Offset:
        if last is None or count_before(last) > count_before(head):
            return head
        return max(last, earliest, key=count_before)

    def _scored(self, offsets: dict[str, Offset], events: Sequence[Event]) -> Round:
        if not events:
            return Round(offsets)
        answers = self._service.ask(events)
        fresh, detection, scored = list[float](), None, 0
        for event, probability in zip(events, answers.probabilities, strict=True):
            if event.time <= answers.watermark + RESOLUTION:
                continue
            loss = log_loss(probability, event.label)
            fresh.append(loss)
            scored += 1
            if rise := self._detector.add(loss):
                detection = self._told(rise, event, answers)
                fresh.clear()
        return Round(offsets, fresh, detection, scored, len(events) - scored)

    def _told(self, rise: Rise, event: Event, answers: Answers) -> dict[str, object]:
        self._detections += 1
        detection = {
            "number": self._detections,
            "eventTime": event.time,
            "before": round(rise.before, 6),
            "after": round(rise.after, 6),
            "events": rise.events,
            "version": answers.version,
        }
        _log.info("the loss of what serves has risen", extra={"detection": detection})
        return detection


def log_loss(probability: float, label: int) -> float:
    """In nats."""
    return -math.log(max(probability if label else 1 - probability, SMALLEST))
