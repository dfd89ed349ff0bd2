"""One update after the other, each of them resumable wherever the process stops."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from viridian_trainer.environment import EvaluateInput, TrainInput, Update, VersionRef
from viridian_trainer.errors import BadData, DataTrimmed
from viridian_trainer.evaluation_task import evaluate_task
from viridian_trainer.eventlog import EventLog, Window
from viridian_trainer.folder_registry import FolderRegistry
from viridian_trainer.loop.journal import Journal, UpdateRecord
from viridian_trainer.loop.plan import next_record
from viridian_trainer.loop.settings import LoopSettings
from viridian_trainer.stop import StopRequest
from viridian_trainer.training.progress import Watch
from viridian_trainer.training_task import train_task
from viridian_trainer.window import predicted_window

NAMESPACE = "local"
#: Updates in a row that may fail for their data: with short windows a single bad record can be too many.
FAILURES = 10


class Loop:
    """Trains, judges and promotes until the log holds too little for another update.

    The champion is the newest update that passed. A rejected or undecided one does not consume its window:
    the next begins at the champion again and reaches further.
    """

    def __init__(
        self,
        log: EventLog,
        registry: FolderRegistry,
        settings: LoopSettings,
        stop: StopRequest,
        watch: Watch | None = None,
    ) -> None:
        self._log, self._registry, self._settings = log, registry, settings
        self._stop, self._watch = stop, watch
        self.journal = Journal(registry.journal(settings.model))

    def updates(self) -> Iterator[UpdateRecord]:
        """Do every update that is due, the interrupted one first; gives each when it has ended."""
        with self.journal.locked():
            while record := self._begun():
                ended = self._finish(record)
                self.journal.write(ended)
                yield ended

    def _begun(self) -> UpdateRecord | None:
        """An update whose record is on disk."""
        last = self.journal.last
        if last is not None and last.verdict is None:
            return last
        record = next_record(self._log, self.journal, self._settings)
        if record is not None:
            self.journal.write(record)
        return record

    def _finish(self, record: UpdateRecord) -> UpdateRecord:
        try:
            outcome = train_task(self._train_input(record), self._log, self._registry, self._stop, self._watch)
        except DataTrimmed:
            raise
        except BadData as error:  # The next window is longer and may hold what this one lacks.
            self._give_up_if_hopeless(error)
            return record.ended(verdict="Failed", reason=error.reason, message=error.message)
        judged = self.judge(record, outcome)
        return record.ended(
            candidate=VersionRef(outcome["version"], outcome["digest"]),
            trained_to=outcome["trainedTo"],
            **_verdict(record, judged, self._settings.gate.looks),
        )

    def _give_up_if_hopeless(self, error: BadData) -> None:
        """Stop where longer windows do not help: a person has to look. A new start tries once more.

        Raises
        ------
        BadData
            If so many updates before this one have failed in a row.
        """
        before = self.journal.records[-1 - FAILURES : -1]
        if len(before) == FAILURES and all(record.verdict == "Failed" for record in before):
            raise BadData(f"{FAILURES} updates in a row failed, and this one: {error.message}") from error

    def judge(self, record: UpdateRecord, outcome: dict[str, Any]) -> dict[str, Any]:
        """What the gate says of the candidate of ``outcome``: at least ``verdict``, ``reason`` and ``message``."""
        champion, anchor = self.journal.champion, self.journal.anchor
        task = EvaluateInput(
            **self._common(record),
            parent=champion.candidate if champion else None,
            candidate=VersionRef(outcome["version"], outcome["digest"]),
            reference=anchor.candidate if anchor else None,
            holdout=Window.parse(outcome["holdout"]),
            gate=self._settings.gate,
            predicted=predicted_window(outcome),
        )
        return evaluate_task(task, self._log, self._registry, evidence=self._settings.evidence)

    def _train_input(self, record: UpdateRecord) -> TrainInput:
        return TrainInput(
            **self._common(record),
            parent=record.parent,
            window=record.window,
            fresh=record.fresh,
            config=self._settings.config,
            seed=self._settings.seed,
            checkpoint_dir=self._settings.checkpoints,
            split=self._settings.gate.split,
        )

    def _common(self, record: UpdateRecord) -> dict[str, Any]:
        model = self._settings.model
        return {
            "update": Update(NAMESPACE, NAMESPACE, model, record.number, 1, record.kind),
            "model_name": model,
            "data": self._settings.data,
        }


def _verdict(record: UpdateRecord, judged: dict[str, Any], looks: int) -> dict[str, Any]:
    """Undecided after the last look is a rejection (the error probability is split over the looks)."""
    verdict: Literal["Pass", "Reject", "Inconclusive"] = judged["verdict"]
    if verdict == "Inconclusive" and record.look >= looks > 1:
        return {"verdict": "Reject", "reason": "Inconclusive", "message": judged["message"]}
    return {"verdict": verdict, "reason": judged["reason"], "message": judged["message"]}
