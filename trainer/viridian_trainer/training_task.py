"""The task of training: a window into a registered version, and the result of the contract."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from viridian_model.bundle import Bundle
from viridian_trainer.download import fetch_bundle
from viridian_trainer.environment import TrainInput
from viridian_trainer.errors import BadData
from viridian_trainer.eventlog import EventLog
from viridian_trainer.export import export, parent_tag
from viridian_trainer.gang.group import ALONE, Group
from viridian_trainer.registry import Registered, Registry, Run, VersionMissing, check_adoptable
from viridian_trainer.stop import StopRequest
from viridian_trainer.training import Trained, follow, predictions, train
from viridian_trainer.training.checkpoint import CheckpointStore
from viridian_trainer.training.progress import Observer, Watch
from viridian_trainer.training.train import identity


def train_task(
    task: TrainInput,
    log: EventLog,
    registry: Registry,
    stop: StopRequest,
    watch: Watch | None = None,
    group: Group = ALONE,
) -> dict[str, Any]:
    """Train and register, or adopt what an earlier attempt registered; gives the result of the contract.

    In a ``group`` this is what rank 0 does.

    Raises
    ------
    TaskError
        With the exit code of the contract.
    """
    if found := registry.find(task.model_name, task.update):
        group.dismiss()
        return _result(check_adoptable(found, task.window.canonical(), parent_tag(task)))
    run = registry.start(task.update, "Train", _params(task))
    try:
        with tempfile.TemporaryDirectory(prefix="viridian-") as folder:
            outcome = _train_in(Path(folder), task, log, registry, run, stop, Observer(run.metrics, watch), group)
    except BaseException as error:
        run.end("KILLED" if getattr(error, "exit_code", 1) == 143 else "FAILED")
        raise
    run.end("FINISHED")
    return outcome


def follow_task(task: TrainInput, log: EventLog, stop: StopRequest, group: Group) -> dict[str, Any]:
    """What the ranks other than 0 do: their part of the training, without the registry.

    Raises
    ------
    TaskError
        With the exit code of the contract.
    """
    follow(task, log, CheckpointStore(task.checkpoint_dir, task.update, identity(task)), stop, group)
    return {"task": "Train", "rank": group.rank}


def _train_in(
    folder: Path,
    task: TrainInput,
    log: EventLog,
    registry: Registry,
    run: Run,
    stop: StopRequest,
    observer: Observer,
    group: Group,
) -> dict[str, Any]:
    store = CheckpointStore(task.checkpoint_dir, task.update, identity(task))
    parent = _parent(task, registry, folder)
    trained = train(task, log, parent, store, stop, observer, group)
    exported = export(task, trained, parent, folder / "bundle")
    begun = time.monotonic()
    outcome = _outcome(trained, exported.digest)
    run.metrics(outcome["metrics"], trained.learner.counts.trained)
    if exported.predictions:
        run.file(exported.predictions, predictions.FOLDER)  # before the version: whoever finds it finds its evidence
    registered = registry.register(run, task.model_name, exported.folder, exported.tags, outcome)
    check_adoptable(registered, task.window.canonical(), parent_tag(task))
    store.remove()
    final = _result(registered)
    final["seconds"] = {**final["seconds"], "register": round(time.monotonic() - begun, 3)}
    return final


def _parent(task: TrainInput, registry: Registry, folder: Path) -> Bundle | None:
    if task.update.kind == "Full" or task.parent is None:
        return None
    try:
        return fetch_bundle(registry, task.model_name, task.parent, folder)
    except VersionMissing as error:
        raise BadData(f"the parent cannot be read: {error}; run a Full update") from error


def _params(task: TrainInput) -> dict[str, Any]:
    return {
        **{f"config.{name}": value for name, value in task.config.items()},
        "seed": task.seed,
        "kind": task.update.kind,
        "window": task.window.wire(),
        "parent": parent_tag(task),
        "replay.ratio": task.data.replay.ratio,
        "holdout.fraction": task.data.holdout.fraction,
        "split": task.split,
    }


def _outcome(trained: Trained, digest: str) -> dict[str, Any]:
    """The result without version and run."""
    counts = trained.learner.counts
    return {
        "task": "Train",
        "digest": digest,
        "trainedTo": dict(trained.learner.offsets),
        "eventTime": trained.learner.watermark.newest,
        "holdout": trained.split.holdout.wire(),
        "events": {
            "trained": counts.trained,
            "holdout": trained.split.holdout.total,
            **({"predicted": len(found)} if (found := trained.learner.predictions) is not None else {}),
            "duplicates": counts.duplicates,
            "late": counts.late,
            "rejected": counts.rejected,
        },
        "metrics": {"logloss": round(trained.learner.logloss, 6)},
        "seconds": dict(trained.seconds),
        **_predicted(trained),
    }


def _predicted(trained: Trained) -> dict[str, Any]:
    """Where the slice begins that was predicted before it was trained on; it ends at ``trainedTo``."""
    window = trained.split.predicted
    return {"predictedFrom": dict(window.start)} if window else {}


def _result(registered: Registered) -> dict[str, Any]:
    return {**registered.result, "runID": registered.run_id, "version": registered.version}
