"""The tasks of a Job, from their inputs to their result, and the frame that always leaves a result
behind.
"""

from __future__ import annotations

import logging
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from viridian_model.bundle import Bundle
from viridian_trainer import result as termination
from viridian_trainer.download import fetch_bundle
from viridian_trainer.environment import (
    EvaluateInput,
    TrainInput,
    VersionRef,
    read_evaluate,
    read_online,
    read_task,
    read_train,
)
from viridian_trainer.errors import BadData, BadUsage, GateInputMissing, TaskError
from viridian_trainer.eventlog import EventLog
from viridian_trainer.eventlog.source import open_log
from viridian_trainer.export import export, parent_tag
from viridian_trainer.gang import reports
from viridian_trainer.gang.group import ALONE, Group
from viridian_trainer.gang.ranks import gathered
from viridian_trainer.gang.reports import End
from viridian_trainer.gate.evaluate import evaluate
from viridian_trainer.gate.evidence import fetch_predictions
from viridian_trainer.gate.report import FOLDER, PAGE, Summary, artifacts, summary
from viridian_trainer.registry import Registered, Registry, Run, VersionMissing, check_adoptable
from viridian_trainer.spec import split_config
from viridian_trainer.stop import StopRequest
from viridian_trainer.training import Trained, follow, predictions, train
from viridian_trainer.training.checkpoint import CheckpointStore
from viridian_trainer.training.progress import Observer, Watch
from viridian_trainer.training.train import identity

_log = logging.getLogger(__name__)


def run(env: Mapping[str, str]) -> int:
    """Run the task of the environment; write its result or its error, and give the exit code."""
    task, stop = env.get("VIRIDIAN_TASK") or "Unknown", StopRequest()
    try:
        task = read_task(env)
        stop.install()
        outcome = _TASKS[task](env, stop)
        _leave(env, End(0, outcome))
    except BaseException as error:
        with stop.deferred():
            return _failed(env, task, error)
    _log.info("done", extra={"result": outcome})
    return 0


def _failed(env: Mapping[str, str], task: str, error: BaseException) -> int:
    failed, code = termination.failure(task, error)
    _leave(env, End(code, failed))
    if not isinstance(error, TaskError):
        _log.error("crashed: %s", termination.without_credentials(traceback.format_exc()))
    _log.error("failed", extra={"exit_code": code, "error": failed["error"]})
    return code


def _leave(env: Mapping[str, str], end: End) -> None:
    """Last words go to the termination log, those of one process among several to who started them."""
    if folder := env.get(reports.FOLDER):
        reports.leave(Path(folder), int(env["LOCAL_RANK"]), end)
    else:
        termination.write(end.words)


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


def evaluate_task(task: EvaluateInput, log: EventLog, registry: Registry, *, evidence: bool = True) -> dict[str, Any]:
    """Judge a candidate and record the evidence, unless it is not wanted; gives the result of the contract.

    Raises
    ------
    TaskError
        With the exit code of the contract.
    """
    run = registry.start(task.update, "Evaluate", _judged_by(task))
    try:
        with tempfile.TemporaryDirectory(prefix="viridian-") as folder:
            found = _evaluate_in(Path(folder), task, log, registry, run, evidence)
    except BaseException:
        run.end("FAILED")
        raise
    run.end("FINISHED")
    told = {"report": _report_of(run)} if evidence else {}
    return {"task": "Evaluate", "runID": run.run_id, **found, **told}


def _report_of(run: Run) -> dict[str, str]:
    """Where in the run the page for people is, and in which experiment pages of the registry show the run."""
    shown_in = {"experimentID": run.experiment} if run.experiment else {}
    return {"path": f"{FOLDER}/{PAGE}", **shown_in}


def _judged_by(task: EvaluateInput) -> dict[str, Any]:
    predicted = {"predicted": task.predicted.wire()} if task.predicted else {}
    return {"gate": task.gate.model_dump(), "holdout": task.holdout.wire(), **predicted}


def _train(env: Mapping[str, str], stop: StopRequest) -> dict[str, Any]:
    task = read_train(env)
    log, (config, _) = open_log(task.data.source, env), split_config(task.config)
    with gathered(env, config.device) as group:
        if group.rank > 0:
            return follow_task(task, log, stop, group)
        return train_task(task, log, open_registry(env), stop, group=group)


def _evaluate(env: Mapping[str, str], _: StopRequest) -> dict[str, Any]:
    task = read_evaluate(env)
    return evaluate_task(task, open_log(task.data.source, env), open_registry(env))


def _online(env: Mapping[str, str], stop: StopRequest) -> dict[str, Any]:
    """Ends by a failure or a stop only."""
    from viridian_trainer.online.run import train_online  # which uses this module

    task = read_online(env)
    train_online(task, open_log(task.data.source, env), open_registry(env), stop, env=env)
    raise RuntimeError("an online training came to an end")


_TASKS: Mapping[str, Callable[[Mapping[str, str], StopRequest], dict[str, Any]]] = {
    "Train": _train,
    "Evaluate": _evaluate,
    "Online": _online,
}


def open_registry(env: Mapping[str, str]) -> Registry:
    """The registry of ``MLFLOW_TRACKING_URI``.

    Raises
    ------
    BadUsage
        If the variable is missing.
    """
    uri = env.get("MLFLOW_TRACKING_URI", "")
    if not uri:
        raise BadUsage("environment variable MLFLOW_TRACKING_URI is missing")
    from viridian_trainer.registration import MlflowRegistry  # takes seconds to import

    return MlflowRegistry(uri)


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


def _evaluate_in(
    folder: Path, task: EvaluateInput, log: EventLog, registry: Registry, run: Run, evidence: bool
) -> Summary:
    def bundle(version: VersionRef | None) -> Bundle | None:
        try:
            return fetch_bundle(registry, task.model_name, version, folder) if version else None
        except VersionMissing as error:
            raise GateInputMissing(str(error)) from error

    candidate, champion, reference = (bundle(version) for version in (task.candidate, task.parent, task.reference))
    if candidate is None:
        raise GateInputMissing("there is no candidate")
    schema, predicted = task.data.event_schema, None
    if task.predicted is not None:
        predicted = fetch_predictions(registry, task.model_name, task.candidate, candidate, task.predicted, folder)
    judged = evaluate(log, task.holdout, schema, task.gate, candidate, champion, reference, predicted)
    for path in artifacts(judged, task, folder / FOLDER) if evidence else ():
        run.file(path, FOLDER)
    found = summary(judged)
    run.metrics({f"candidate_{k}": v for k, v in found["metrics"].get("candidate", {}).items()}, len(judged.holdout))
    return found
