"""The process of a drift monitor, from its environment to SIGTERM."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

from viridian_model.schema import Schema
from viridian_trainer.data import Data, parse_part
from viridian_trainer.drift.monitor import BATCH, Monitor
from viridian_trainer.drift.service import ActiveService, NotTold
from viridian_trainer.drift.state import MonitorState
from viridian_trainer.errors import BadConfig, BadUsage, LogUnreachable, Stopped, TaskError
from viridian_trainer.eventlog.redis_stream import RedisEventLog, RedisSource
from viridian_trainer.eventlog.source import PASSWORD, USERNAME
from viridian_trainer.stop import StopRequest

_log = logging.getLogger(__name__)

PAUSE_SECONDS = 1.0
#: between two requests while it catches up: what serves has callers to answer
BREATH_SECONDS = 0.05
LONGEST_PAUSE = 30.0


@dataclass(frozen=True)
class MonitorInput:
    """What the environment says."""

    source: RedisSource
    schema: Schema
    address: str
    model: str
    key: str
    delta: float


def run(env: Mapping[str, str] = os.environ) -> int:
    """Follow the log until SIGTERM; gives the exit code of the contract."""
    stop = StopRequest()
    stop.install()
    try:
        follow(read_input(env))
    except Stopped:
        return 0
    except TaskError as error:
        _log.error("the monitor ends: %s", error.message, extra={"reason": error.reason})
        return error.exit_code


def read_input(env: Mapping[str, str]) -> MonitorInput:
    """The variables of a monitor.

    Raises
    ------
    BadUsage
        If one is missing or malformed.
    BadConfig
        If the log is none that a monitor can follow.
    """
    data = parse_part(Data, _json(env, "VIRIDIAN_DATA"), "spec.data")
    drift = _json(env, "VIRIDIAN_DRIFT")
    key, delta = (drift.get("key"), drift.get("delta")) if isinstance(drift, dict) else (None, None)
    if not isinstance(key, str) or not isinstance(delta, float):
        raise BadUsage('VIRIDIAN_DRIFT must be {"key": text, "delta": number}')
    stream = data.source.redis_stream
    if stream is None:
        raise BadConfig("a drift monitor follows Redis streams: name spec.data.source.redisStream")
    credentials = env.get(USERNAME) or None, env.get(PASSWORD) or None
    return MonitorInput(
        source=RedisSource(stream.url, stream.stream, stream.partitions, *credentials),
        schema=data.event_schema,
        address=_text(env, "VIRIDIAN_ACTIVE_URL").rstrip("/"),
        model=_text(env, "VIRIDIAN_MODEL_NAME"),
        key=key,
        delta=delta,
    )


def follow(given: MonitorInput) -> NoReturn:
    """Score new events for ever.

    Raises
    ------
    TaskError
        If the log cannot be followed any more; the pod starts again then.
    """
    state, monitor, told, pause = MonitorState(given.source, given.key), None, "", PAUSE_SECONDS
    while True:
        count, problem = 0, ""
        try:
            monitor = monitor or _monitor(given, state)
            count, pause = monitor.step(), PAUSE_SECONDS
            told = _tell(state, told, "")
        except NotTold as error:
            problem = str(error)
            told = _tell(state, told, problem)
        except LogUnreachable as error:
            problem, monitor = error.message, None  # what was written last is read again
        if problem:
            pause = min(pause * 2, LONGEST_PAUSE)
        time.sleep(BREATH_SECONDS if count == BATCH else pause)


def _monitor(given: MonitorInput, state: MonitorState) -> Monitor:
    service = ActiveService(given.address, given.model, given.schema)
    monitor = Monitor(RedisEventLog(given.source), given.schema, service, state, given.delta)
    state.tell("")
    return monitor


def _tell(state: MonitorState, told: str, problem: str) -> str:
    if problem != told:
        _log.log(logging.WARNING if problem else logging.INFO, "%s", problem or "what serves is scored again")
        state.tell(problem)
    return problem


def _text(env: Mapping[str, str], name: str) -> str:
    if not (value := env.get(name, "")):
        raise BadUsage(f"environment variable {name} is missing")
    return value


def _json(env: Mapping[str, str], name: str) -> object:
    try:
        return json.loads(_text(env, name))
    except ValueError:
        raise BadUsage(f"environment variable {name} is not JSON") from None
