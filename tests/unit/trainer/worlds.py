"""Event logs, tasks and trained versions that the tests of the trainer share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from viridian_model.bundle import Bundle, read_bundle
from viridian_trainer.environment import TrainInput, Update, VersionRef
from viridian_trainer.eventlog import EventLog, Window
from viridian_trainer.eventlog.parquet import ParquetEventLog
from viridian_trainer.folder_registry import FolderRegistry
from viridian_trainer.publish import to_parquet
from viridian_trainer.spec import Data
from viridian_trainer.stop import StopRequest
from viridian_trainer.synthetic import SyntheticConfig, World
from viridian_trainer.training_task import train_task

FIELDS = {"categorical": ["user", "item", "hour"]}
#: Small and quick, and still clearly better than popularity.
CONFIG: dict[str, Any] = {"dim": 8, "hidden": [32], "batchSize": 128}


def rows(first: int, count: int, **knobs: Any) -> list[dict[str, Any]]:
    """Synthetic events."""
    return [impression.row for impression in World(SyntheticConfig(**knobs)).events(first, count)]


def parquet(folder: Path, events: Iterable[Mapping[str, Any]], partitions: int = 2) -> ParquetEventLog:
    """Append events to a log of Parquet segments."""
    to_parquet(folder, partitions, events, lambda _: None)
    return ParquetEventLog(folder)


def data(folder: Path, **changes: Any) -> Data:
    """``spec.data`` over a folder."""
    return Data.model_validate({"source": {"parquet": {"path": str(folder)}}, "schema": FIELDS, **changes})


def training(log: EventLog, folder: Path, **changes: Any) -> TrainInput:
    """A Full update over all of ``log``."""
    task = TrainInput(
        update=Update("uid", "recsys", "ctr", 1, 1, "Full"),
        model_name="ctr",
        data=data(folder),
        parent=None,
        window=Window(log.earliest(), log.heads()),
        fresh=dict(log.earliest()),
        config=CONFIG,
        seed=7,
        checkpoint_dir=folder.parent / "checkpoints",
    )
    return replace(task, **changes)


def following(task: TrainInput, outcome: Mapping[str, Any], log: EventLog, **changes: Any) -> TrainInput:
    """The Incremental update after ``outcome``."""
    return replace(
        task,
        update=replace(task.update, number=task.update.number + 1, kind="Incremental"),
        parent=VersionRef(outcome["version"], outcome["digest"]),
        window=Window(outcome["trainedTo"], log.heads()),
        **changes,
    )


def train_in(folder: Path, task: TrainInput, log: EventLog) -> tuple[dict[str, Any], Bundle]:
    """Train into a registry in ``folder``; gives the result and the bundle."""
    outcome = train_task(task, log, FolderRegistry(folder), StopRequest())
    return outcome, read_bundle(folder / task.model_name / outcome["version"] / "bundle", outcome["digest"])
