"""One branch of training: the learner, what it is measured by, and what it has used since its champion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from viridian_model.bundle import finish
from viridian_trainer.environment import OnlineInput
from viridian_trainer.eventlog import Entry, EventLog
from viridian_trainer.eventlog.dedup import RecentIds
from viridian_trainer.gate.scoring import score
from viridian_trainer.gate.statistics import log_losses
from viridian_trainer.online.champion import Champion
from viridian_trainer.online.passage import Passage
from viridian_trainer.online.prequential import CHAMPION, ONLINE, Predictions, Prequential
from viridian_trainer.online.sequential import SequentialTest
from viridian_trainer.online.touched import TouchedRows
from viridian_trainer.spec import TrainerConfig
from viridian_trainer.training.learner import Learner
from viridian_trainer.training.replay import nothing

_NO_REPLAY = nothing({})


class Branch:
    """Begins at a champion; every event is predicted by the champion and by the present weights, then trained on."""

    def __init__(
        self, task: OnlineInput, config: TrainerConfig, champion: Champion, prequential: Prequential, log: EventLog
    ) -> None:
        self._task, self._log, self._prequential = task, log, prequential
        self.champion = champion
        bundle = champion.bundle
        self.learner = Learner(
            bundle.load_model().train(), config, bundle.manifest.trained_to, task.data.allowed_lateness
        )
        self.learner.load_kept(bundle.optimizer())
        self.passage = Passage.begin(self.learner.offsets, self.learner.counts)
        #: what was used since the anchor that waits for its verdict
        self.since_anchor: Passage | None = None
        self.touched, self._told = TouchedRows(self.learner.model), 0
        self._measure_anew()

    def train(self, entries: Sequence[Entry]) -> None:
        """Predict and train on a batch, in steps of the learner's size; unreadable entries become dead letters."""
        used: list[Entry] = []
        waiting: list[Entry] = []
        for entry in entries:
            if entry.event is None:
                self._log.reject(entry.record, entry.rejection)
            if self.learner.take(entry):
                waiting.append(entry)
            if self.learner.batch_is_full:
                used += self._step(waiting)
                waiting = []
        used += self._step(waiting)
        self._note(used, entries)

    def _step(self, entries: list[Entry]) -> list[Entry]:
        if not entries:
            return entries
        model = self.learner.model.eval()
        models = {ONLINE: model, CHAMPION: self.champion.model}
        events, scores = score(entries, RecentIds(), models, self._prequential.fields)
        model.train()
        self._prequential.add(Predictions(events, scores))
        losses = {name: log_losses(given.logits, events.labels) for name, given in scores.items()}
        self.test.add(losses[ONLINE] - losses[CHAMPION], events.users)
        self.learner.step(_NO_REPLAY, 0.0)
        return entries

    def _note(self, used: Sequence[Entry], entries: Sequence[Entry]) -> None:
        moved = {entry.partition: entry.offset_after for entry in entries}
        for passage in (self.passage, self.since_anchor):
            if passage is not None:
                passage.add(used, moved)

    def events_since_delta(self) -> int:
        """Events that were trained on since this was last asked."""
        before, self._told = self._told, self.learner.counts.trained
        return self._told - before

    def begin_anchor(self) -> None:
        """Bring the weights into the state that is exported; what comes now is counted apart until the verdict.

        Unused ids lose their rows here, as at the end of every training.
        """
        self.learner.end()
        finish(self.learner.model).train()
        self.touched.add_all()
        self.since_anchor = Passage.begin(self.learner.offsets, self.learner.counts)

    def drop_anchor(self) -> None:
        """The anchor did not pass: the passage since the champion goes on."""
        self.since_anchor = None

    def adopt(self, champion: Champion) -> None:
        """The anchor passed: it is the champion that the weights are measured against from now on."""
        if self.since_anchor is None:
            raise RuntimeError("no anchor waits for a verdict")
        self.champion = champion
        self.passage, self.since_anchor = self.since_anchor, None
        self._measure_anew()

    def _measure_anew(self) -> None:
        self.test = SequentialTest(self._task.online.alpha, self._task.online.margin)
        self._prequential.clear()

    def state(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """Everything but the champion, as tensors and JSON."""
        tensors, meta = self.learner.state()
        waiting = self.since_anchor.wire() if self.since_anchor else None
        return tensors, {
            "learner": meta,
            "test": self.test.wire(),
            "passage": self.passage.wire(),
            "sinceAnchor": waiting,
        }

    def load_state(self, tensors: Mapping[str, torch.Tensor], meta: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        self.learner.load_state(tensors, meta["learner"])
        self.passage = Passage.load(meta["passage"])
        self.since_anchor = Passage.load(meta["sinceAnchor"]) if meta["sinceAnchor"] else None
        self.touched.drain()
        self._told = self.learner.counts.trained
        self._measure_anew()
        self.test.load(meta["test"])
