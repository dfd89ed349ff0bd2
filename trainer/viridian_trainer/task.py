"""The tasks of a Job by the environment that asks for them, and the frame that always leaves a result behind."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from viridian_trainer import result as termination
from viridian_trainer.environment import read_evaluate, read_online, read_task, read_train
from viridian_trainer.errors import BadUsage, TaskError
from viridian_trainer.evaluation_task import evaluate_task
from viridian_trainer.eventlog.source import open_log
from viridian_trainer.gang import reports
from viridian_trainer.gang.ranks import gathered
from viridian_trainer.gang.reports import End
from viridian_trainer.registry import Registry
from viridian_trainer.spec import split_config
from viridian_trainer.stop import StopRequest
from viridian_trainer.training_task import follow_task, train_task

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
    from viridian_trainer.online.run import train_online  # the other tasks start sooner without it

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
