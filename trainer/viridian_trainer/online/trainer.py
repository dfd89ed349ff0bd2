"""The online trainer: follow the log, predict, train, publish; stop, go back and try again when it got worse."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from functools import partial

from viridian_model.publication.lease import Fenced
from viridian_trainer.environment import OnlineInput
from viridian_trainer.errors import LogUnreachable
from viridian_trainer.eventlog import Entry, EventLog
from viridian_trainer.online.branch import Branch
from viridian_trainer.online.judging import Judgement
from viridian_trainer.online.publication import PATIENCE, Unsound
from viridian_trainer.online.work import Work
from viridian_trainer.stop import StopRequest

#: Seconds between two checkpoints; steps since the last are made again after a crash.
SAVE_SECONDS = 30.0
#: A batch is begun at most so often within one interval of publication.
BATCHES_PER_INTERVAL = 4
#: Longest wait for events, in seconds.
IDLE_SECONDS = 0.5
Move = Callable[[], None]
_log = logging.getLogger(__name__)


class OnlineTrainer:
    """Runs until it is asked to stop; everything it decides is in `Work`, what it reads in the log."""

    def __init__(self, task: OnlineInput, log: EventLog, work: Work, stop: StopRequest) -> None:
        self._task, self._log, self._work, self._stop = task, log, work, stop
        self._interval = task.online.publish_interval
        self._publish_at = self._batch_at = self._saved_at = time.monotonic()
        self._away_since: float | None = None

    def run(self) -> None:
        """Go on where an earlier process stopped, and work.

        Raises
        ------
        Stopped
            When a stop was requested; a checkpoint was written.
        TaskError
            With the exit code of the contract.
        """
        with self._stop.deferred():
            move = self._work.begin
            try:
                while not self._stop.requested:
                    move = self._made(move)
                self._end()
            finally:
                self._work.close()
        self._stop.check()

    def _made(self, move: Move) -> Move:
        """Make a move, and say what comes next: whoever wrote the head meanwhile is followed."""
        try:
            move()
        except Unsound as problem:
            return partial(self._work.go_back, f"a delta is not sound: {problem}")
        except Fenced as error:
            _log.warning("somebody else wrote the head: %s", error)
            return self._work.follow
        return self._turn

    def _end(self) -> None:
        """Bring readers and disk up to date; what cannot be done is done by the next process from the journal."""
        try:
            if self._work.begun:
                self._work.save()
        except (Unsound, Fenced) as error:
            _log.warning("stopped without a last checkpoint: %s", error)

    def _turn(self) -> None:
        """Read, train and publish once."""
        self._hear()
        self._train()
        self._publish()
        self._anchor()
        self._save()
        self._work.tell()

    def _hear(self) -> None:
        """What became of the anchor."""
        answer = self._work.ask()
        if not isinstance(answer, Judgement):
            return
        _log.info("verdict", extra={"verdict": answer.outcome, "text": answer.message})
        if answer.outcome == "Pass":
            self._work.promote()
        elif answer.outcome == "Reject":
            self._work.go_back(f"the anchor was rejected: {answer.message}")
        else:
            self._work.drop_anchor()

    def _train(self) -> None:
        if entries := self._read():
            self._work.train(entries)
            if self._work.publishes and self._branch.test.verdict == "Worse":
                test = self._branch.test
                self._work.go_back(
                    f"the online weights are worse than the champion by more than {self._task.online.margin:g} "
                    f"(p = {test.bound:.2g} after {test.events} events)"
                )

    @property
    def _branch(self) -> Branch:
        return self._work.branch

    def _read(self) -> Sequence[Entry]:
        """The next batch; a log that is away is waited for.

        Raises
        ------
        LogUnreachable
            If it is away for `PATIENCE` seconds.
        """
        now = time.monotonic()
        time.sleep(max(0.0, self._batch_at - now))  # else one event would make a batch
        wait = IDLE_SECONDS if self._work.published_all else max(0.0, min(self._publish_at - now, IDLE_SECONDS))
        try:
            entries = self._work.reader.batch(wait)
        except LogUnreachable as error:
            self._away_since = self._away_since or now
            if now - self._away_since > PATIENCE:
                raise
            self._work.tell(error=error.message)
            self._batch_at = now + 1.0
            return []
        self._away_since, self._batch_at = None, time.monotonic() + self._interval / BATCHES_PER_INTERVAL
        return entries

    def _publish(self) -> None:
        """A delta, if it is time; while the one before is under way this one is skipped, and the next holds it."""
        now = time.monotonic()
        if now >= self._publish_at and self._work.publish():
            self._publish_at = now + self._interval

    def _anchor(self) -> None:
        if self._work.anchor_is_due():
            self._work.make_anchor()

    def _save(self) -> None:
        now = time.monotonic()
        if now - self._saved_at > SAVE_SECONDS:
            self._work.save()
            self._saved_at = now
