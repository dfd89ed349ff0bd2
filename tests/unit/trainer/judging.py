"""Updates over a folder whose candidates are judged, by either split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from worlds import data, following, parquet, train_in, training

from viridian_model.bundle import Bundle
from viridian_trainer.environment import EvaluateInput, TrainInput, VersionRef
from viridian_trainer.evaluation_task import evaluate_task
from viridian_trainer.eventlog import Window
from viridian_trainer.eventlog.parquet import ParquetEventLog
from viridian_trainer.folder_registry import FolderRegistry
from viridian_trainer.spec import Gate, SplitKind
from viridian_trainer.window import predicted_window

FRACTION = 0.25
Result = Mapping[str, Any]


def evaluation(task: TrainInput, candidate: Result, champion: Result | None, gate: Gate) -> EvaluateInput:
    """What an evaluation of ``candidate`` is told, from the results of trainings."""
    return EvaluateInput(
        update=task.update,
        model_name=task.model_name,
        data=task.data,
        parent=VersionRef(champion["version"], champion["digest"]) if champion else None,
        candidate=VersionRef(candidate["version"], candidate["digest"]),
        reference=None,
        holdout=Window.parse(candidate["holdout"]),
        gate=gate,
        predicted=predicted_window(candidate),
    )


@dataclass
class Judged:
    """One log and one registry; ``split`` decides how candidates are judged."""

    folder: Path
    split: SplitKind = "Prequential"

    @property
    def log(self) -> ParquetEventLog:
        return ParquetEventLog(self.folder / "log")

    @property
    def registry(self) -> FolderRegistry:
        return FolderRegistry(self.folder / "r")

    def append(self, events: list[dict[str, Any]]) -> None:
        parquet(self.folder / "log", events)

    def task(self, **changes: Any) -> TrainInput:
        """A Full update over the whole log."""
        spec = data(self.folder / "log", holdout={"fraction": FRACTION})
        return training(self.log, self.folder / "log", data=spec, split=self.split, **changes)

    def next(self, task: TrainInput, champion: Result, **changes: Any) -> TrainInput:
        """The Incremental update after ``champion``."""
        return following(task, champion, self.log, fresh=dict(champion["trainedTo"]), **changes)

    def train(self, task: TrainInput) -> tuple[dict[str, Any], Bundle]:
        return train_in(self.folder / "r", task, self.log)

    def input(self, task: TrainInput, candidate: Result, champion: Result | None, **gate: Any) -> EvaluateInput:
        """What an evaluation is told."""
        rules = {"margin": 0.02, "minEvents": 100, "split": self.split, **gate}
        return evaluation(task, candidate, champion, Gate.model_validate(rules))

    def judge(self, task: TrainInput, candidate: Result, champion: Result | None, **gate: Any) -> dict[str, Any]:
        return evaluate_task(self.input(task, candidate, champion, **gate), self.log, self.registry)

    def evidence(self, candidate: Result) -> Path:
        """The file with the candidate's predictions."""
        return self.registry.artifact(candidate["runID"], "prequential/predictions.safetensors", self.folder)


def with_split(world: Judged, folder: Path, split: SplitKind) -> Judged:
    """The same log, judged in another way."""
    folder.mkdir()
    (folder / "log").symlink_to(world.folder / "log")
    return replace(world, folder=folder, split=split)
