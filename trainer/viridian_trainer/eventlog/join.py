"""Impressions and their delayed labels become events: a click in time makes a 1, the end of the horizon a 0."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

Row = Mapping[str, Any]


@dataclass
class JoinState:
    """All that a joiner remembers between two rounds.

    ``pending`` impressions by request id, in the order of arrival; ``early`` labels (time, value) whose
    impression was not read yet; ``newest`` is the greatest time of an impression, in seconds.
    """

    pending: dict[str, dict[str, Any]] = field(default_factory=dict)
    early: dict[str, tuple[float, int]] = field(default_factory=dict)
    newest: float = 0.0
    counts: dict[str, int] = field(default_factory=dict)

    def wire(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)


class LabelJoin:
    """Joins the impressions and labels of one partition by request id.

    An impression without a positive label ``horizon`` seconds of event time later counts as negative. A
    label for an impression that was decided already is late and only counted: an event is never sent twice.
    Feed the labels of a round before its impressions expire, that is before `expire`.
    """

    def __init__(self, state: JoinState, horizon: float, fields: Mapping[str, str]) -> None:
        """``fields`` names ``id``, ``time`` and ``label`` in the rows."""
        self.state = state
        self._horizon, self._id, self._time, self._label = horizon, fields["id"], fields["time"], fields["label"]

    def impression(self, row: Row) -> Row | None:
        """Take an impression; gives the event at once if its label came first."""
        identity, moment = str(row[self._id]), float(row[self._time])
        self.state.newest = max(self.state.newest, moment)
        if identity in self.state.pending:
            self._count("duplicates")
            return None
        if (label := self.state.early.pop(identity, None)) and label[0] - moment <= self._horizon:
            return self._joined(dict(row), label[1])
        self.state.pending[identity] = dict(row)
        return None

    def label(self, row: Row) -> Row | None:
        """Take a label; gives the event if its impression waits for it."""
        identity, moment, value = str(row[self._id]), float(row[self._time]), int(row[self._label])
        waiting = self.state.pending.get(identity)
        if waiting is None:
            self.state.early[identity] = (moment, value)
            return None
        if moment - float(waiting[self._time]) > self._horizon:
            self._count("late")
            return None
        del self.state.pending[identity]
        return self._joined(waiting, value)

    def expire(self) -> Iterator[Row]:
        """Give the impressions as negative whose horizon is over, and forget labels that match nothing."""
        limit = self.state.newest - self._horizon
        for identity, row in list(self.state.pending.items()):
            if float(row[self._time]) < limit:
                del self.state.pending[identity]
                self._count("expired")
                yield {**row, self._label: 0}
        for identity, (moment, _) in list(self.state.early.items()):
            if moment < limit:
                del self.state.early[identity]
                self._count("late")

    def _joined(self, row: dict[str, Any], value: int) -> Row:
        self._count("joined")
        return {**row, self._label: value}

    def _count(self, name: str) -> None:
        self.state.counts[name] = self.state.counts.get(name, 0) + 1
