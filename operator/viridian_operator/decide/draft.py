"""The status in the making during one pass."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from viridian_operator.api.conditions import Reason
from viridian_operator.api.spec import ModelUpdateSpec
from viridian_operator.api.status import ModelUpdateStatus, Phase, PhaseRecord, Update
from viridian_operator.decide.decision import Note, Severity
from viridian_operator.decide.invariants import Violation
from viridian_operator.decide.observation import Observation

#: seconds between two tries
ASK_AGAIN = 5.0


@dataclass
class Draft:
    """Spec, observation and clock of a pass, and the status that it leads to."""

    spec: ModelUpdateSpec
    seen: Observation
    now: datetime
    status: ModelUpdateStatus
    notes: list[Note] = field(default_factory=list)
    wake_at: datetime | None = None
    wake_at_total: int | None = None
    wake_off_version: str | None = None
    wake_off_drift: int | None = None
    #: what is waited for between updates, if not for a trigger
    waiting: str = ""
    #: why no update can start although something asks for one
    stalled: tuple[Reason, str] | None = None
    #: invariants that the status and cluster of this pass were found in breach of; told, never acted upon
    violated: tuple[Violation, ...] = ()

    @property
    def update(self) -> Update:
        """The update under way.

        Raises
        ------
        LookupError
            If there is none; phases only run while there is one.
        """
        if self.status.update is None:
            raise LookupError("no update is under way")
        return self.status.update

    @property
    def running(self) -> bool:
        """Whether an update is under way."""
        return self.status.update is not None and self.status.update.running

    def put(self, **changes: Any) -> None:
        """Change fields of the status."""
        self.status = self.status.but(**changes)

    def put_update(self, **changes: Any) -> None:
        """Change fields of the update."""
        self.put(update=self.update.but(**changes))

    def note(self, reason: Reason, message: str, *, warn: bool = False) -> None:
        """Tell people, by an Event."""
        severity = Severity.WARNING if warn else Severity.NORMAL
        self.notes.append(Note(reason=reason, message=message, severity=severity))

    def look_at(self, moment: datetime | None) -> None:
        """Wake up at ``moment`` at the latest."""
        if moment is not None and (self.wake_at is None or moment < self.wake_at):
            self.wake_at = moment

    def look_after(self, seconds: float) -> None:
        """Wake up in so many seconds at the latest."""
        self.look_at(self.now + timedelta(seconds=seconds))

    def ask_again(self) -> None:
        """Wake up for another try at something that no event tells of: the registry, the event log."""
        self.look_after(ASK_AGAIN)

    def look_when(self, total: int) -> None:
        """Wake up once the event log holds so many events, at the latest."""
        if self.wake_at_total is None or total < self.wake_at_total:
            self.wake_at_total = total

    def enter(self, phase: Phase, message: str, *, limit: timedelta | None, reason: Reason | None = None) -> None:
        """Go to the next phase, which ends ``limit`` from now at the latest."""
        self.put_update(
            phase=phase,
            phase_since=self.now,
            deadline=self.now + limit if limit is not None else None,
            phases=self.phases_so_far(),
            message=message,
            reason=str(reason or self.update.reason),
        )

    def phases_so_far(self) -> list[PhaseRecord]:
        """Records of the phases up to now; one that was entered again, as for another attempt, is one record."""
        update = self.update
        seconds = (self.now - update.phase_since).total_seconds()
        last = update.phases[-1] if update.phases else None
        if last is not None and last.phase is update.phase:
            return [*update.phases[:-1], last.but(seconds=round(last.seconds + seconds, 3))]
        record = PhaseRecord(phase=update.phase, started_at=update.phase_since, seconds=round(seconds, 3))
        return [*update.phases, record]

    def say(self, message: str) -> None:
        """What the present phase is waiting for."""
        if self.update.message != message:
            self.put_update(message=message)

    @property
    def overdue(self) -> bool:
        """Whether the present phase has used up its time; wakes the next pass when it will have."""
        deadline = self.update.deadline
        if deadline is None:
            return False
        self.look_at(deadline)
        return self.now >= deadline
