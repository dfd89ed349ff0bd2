"""Impressions and their delayed labels become events: a click in time makes a 1, the end of the horizon a 0."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from viridian_trainer.eventlog.schema import label_of, text_of, time_of

Row = Mapping[str, Any]


class Noted(dict[str, Any]):
    """A dictionary that remembers which keys were set or removed, so that only those need be written."""

    def __init__(self, *values: Any) -> None:
        super().__init__(*values)
        self.touched: set[str] = set()

    def __setitem__(self, key: str, value: Any) -> None:
        self.touched.add(key)
        super().__setitem__(key, value)

    def __delitem__(self, key: str) -> None:
        self.touched.add(key)
        super().__delitem__(key)

    def settle(self) -> None:
        """What was noted is written."""
        self.touched = set()


@dataclass
class JoinState:
    """All that a joiner remembers between two rounds.

    ``pending`` impressions by request id; ``early`` labels ``[time, value]`` whose impression was not read yet;
    ``newest`` is the greatest time of an impression in seconds, ``raised`` the time by the clock of the log at which
    it was read.
    """

    pending: Noted = field(default_factory=Noted)
    early: Noted = field(default_factory=Noted)
    newest: float = 0.0
    raised: float = 0.0
    counts: dict[str, int] = field(default_factory=dict)

    def wire(self) -> dict[str, Any]:
        """JSON form of all but ``pending`` and ``early``."""
        return {"newest": self.newest, "raised": self.raised, "counts": dict(self.counts)}

    def count(self, name: str) -> None:
        """One more."""
        self.counts[name] = self.counts.get(name, 0) + 1


class LabelJoin:
    """Joins the impressions and labels of one partition by request id, in one round.

    An impression without a label ``horizon`` seconds later counts as negative. A label for an impression that was
    decided already is late and only counted: an event is never sent twice. Time is that of the events. While no newer
    impression comes it goes on as the clock of the log does. Feed the labels of a round before its impressions expire,
    that is before `expire`.
    """

    def __init__(self, state: JoinState, horizon: float, fields: Mapping[str, str], now: float) -> None:
        """``fields`` names ``id``, ``time`` and ``label`` in the rows; ``now`` is the clock of the log, in seconds."""
        self.state = state
        self._horizon, self._now = horizon, now
        self._id, self._time, self._label = fields["id"], fields["time"], fields["label"]

    def impression(self, row: Row) -> Row | None:
        """Take an impression; gives the event at once if its label came first.

        Raises
        ------
        Unreadable
            If it has no id or time.
        """
        identity, moment = text_of(row, self._id), time_of(row, self._time)
        if moment > self.state.newest:
            self.state.newest, self.state.raised = moment, self._now
        if identity in self.state.pending:
            self.state.count("duplicates")
            return None
        label = self.state.early.get(identity)
        if label is not None:
            del self.state.early[identity]
            if label[0] - moment <= self._horizon:
                return self._joined(row, label[1])
        self.state.pending[identity] = dict(row)
        return None

    def label(self, row: Row) -> Row | None:
        """Take a label; gives the event if its impression waits for it.

        Raises
        ------
        Unreadable
            If it has no id, no time, or is neither 0 nor 1.
        """
        identity, moment, value = text_of(row, self._id), time_of(row, self._time), label_of(row, self._label)
        waiting = self.state.pending.get(identity)
        if waiting is None:
            self.state.early[identity] = [moment, value]
            return None
        if moment - float(waiting[self._time]) > self._horizon:
            self.state.count("late")
            return None
        del self.state.pending[identity]
        return self._joined(waiting, value)

    def expire(self, *, all_read: bool) -> Iterator[Row]:
        """Give the impressions as negative whose horizon is over, and forget labels that match nothing.

        Without ``all_read`` there are impressions that were not read yet, and these alone tell how late it is.
        """
        passed = max(0.0, self._now - self.state.raised) if all_read and self.state.raised else 0.0
        limit = self.state.newest + passed - self._horizon
        for identity, row in list(self.state.pending.items()):
            if float(row[self._time]) < limit:
                del self.state.pending[identity]
                self.state.count("expired")
                yield {**row, self._label: 0}
        for identity, (moment, _) in list(self.state.early.items()):
            if moment < limit:
                del self.state.early[identity]
                self.state.count("late")

    def _joined(self, row: Row, value: int) -> Row:
        self.state.count("joined")
        return {**row, self._label: value}
