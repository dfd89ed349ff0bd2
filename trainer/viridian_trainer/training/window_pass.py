"""One pass over the training part of a window, batch by batch, with a checkpoint now and then."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from viridian_trainer.environment import TrainInput
from viridian_trainer.errors import BadData
from viridian_trainer.eventlog import EventLog, Offset, Window, read
from viridian_trainer.gang.group import Group
from viridian_trainer.stop import StopRequest
from viridian_trainer.training.checkpoint import CheckpointStore
from viridian_trainer.training.plan import Plan
from viridian_trainer.training.progress import Observer, Progress


@dataclass
class WindowPass:
    """The same on every rank of ``group``: all read every entry, agree on stops, and wait while rank 0 saves."""

    task: TrainInput
    log: EventLog
    plan: Plan
    checkpoint_events: int
    store: CheckpointStore
    stop: StopRequest
    observer: Observer
    group: Group
    saved_at: int = field(init=False)
    progress: Progress = field(init=False)

    def __post_init__(self) -> None:
        self.saved_at = self.plan.learner.counts.trained
        self.progress = Progress(self.observer, self.plan.split.train.total)

    def run(self) -> None:
        """Up to the slice that is predicted, if there is one, then to the end of the training part.

        Raises
        ------
        BadData
            If there was nothing to train on.
        RuntimeError
            If the ranks ended with different weights.
        Stopped
            If any rank was asked to stop.
        """
        learner, predicted = self.plan.learner, self.plan.split.predicted
        if predicted is not None and learner.predictions is None:
            self._through(predicted.start)
            learner.begin_slice()
        self._through(self.plan.split.train.end)
        self.progress.update(learner.counts, final=True)
        if learner.counts.trained == 0:
            raise BadData("every event of the window was seen before; nothing is left to train on")
        if not self.group.same(learner.fingerprint()):
            raise RuntimeError("the processes of the training ended with different weights")
        self._save()
        self._stop_together()

    def _through(self, end: Mapping[str, Offset]) -> None:
        learner = self.plan.learner
        for entry in read(self.log, Window(learner.offsets.copy(), end), self.task.data.event_schema):
            learner.take(entry)
            if learner.batch_is_full:
                self._step()
                self._save_if_due()
        self._step()

    def _step(self) -> None:
        self.plan.learner.step(self.plan.sample, self.task.data.replay.ratio)
        self.progress.update(self.plan.learner.counts)

    def _save_if_due(self) -> None:
        stopping = self.group.any(self.stop.requested)
        if stopping or self.plan.learner.counts.trained - self.saved_at >= self.checkpoint_events:
            self._save()
        if stopping:
            self.stop.end()

    def _save(self) -> None:
        self.group.lead(lambda: self.plan.save(self.store))
        self.saved_at = self.plan.learner.counts.trained

    def _stop_together(self) -> None:
        if self.group.any(self.stop.requested):
            self.stop.end()
