"""An online trainer put together from its inputs."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from viridian_model.publication.publisher import Publisher
from viridian_model.store import Store, open_store
from viridian_trainer.environment import OnlineInput
from viridian_trainer.errors import BadConfig
from viridian_trainer.eventlog import EventLog
from viridian_trainer.online.anchors import Anchors
from viridian_trainer.online.champions import Champions
from viridian_trainer.online.checkpoints import Checkpoints
from viridian_trainer.online.desk import Desk
from viridian_trainer.online.judging import Judge, LocalJudge, OperatorJudge
from viridian_trainer.online.prequential import Prequential
from viridian_trainer.online.publication import LEASE_SECONDS, Publication
from viridian_trainer.online.server import StatusServer
from viridian_trainer.online.status import Status
from viridian_trainer.online.trainer import OnlineTrainer
from viridian_trainer.online.work import Work
from viridian_trainer.registry import Registry
from viridian_trainer.stop import StopRequest

#: Given the parts that a view of the training shows.
View = Callable[[Status, Prequential], None]


def train_online(
    task: OnlineInput,
    log: EventLog,
    versions: Registry,
    stop: StopRequest,
    *,
    env: Mapping[str, str] = os.environ,
    local: bool = False,
    view: View | None = None,
    lease: float = LEASE_SECONDS,
) -> None:
    """Train until ``stop`` is requested; ``local`` judges anchors in this process instead of waiting for the operator.

    Raises
    ------
    Stopped
        When it was requested; a checkpoint was written.
    TaskError
        With the exit code of the contract.
    """
    store = open_named_store(task.store, env)
    status, prequential = Status(), Prequential(task.online.window, task.gate.slices, task.data.event_schema)
    server = StatusServer(status, prequential, task.port) if task.port is not None else None
    if view is not None:
        view(status, prequential)
    checkpoints = Checkpoints(task)
    anchors = Anchors(task, checkpoints.anchors)
    judge: Judge = OperatorJudge(versions, task.model_name)
    if local:
        judge = LocalJudge(task, log, versions, anchors)
    publisher = Publisher(store, task.chain, checkpoints.holder, ttl=lease)
    publication = Publication(publisher, task.model_name, task.online.selection, stop.pause, lease)
    desk = Desk(anchors, store, versions, judge)
    champions = Champions(task, store, versions, anchors, checkpoints.scratch, stop.pause)
    work = Work(task, log, store, champions, checkpoints, publication, desk, anchors, status, prequential, stop.pause)
    try:
        OnlineTrainer(task, log, work, stop).run()
    finally:
        store.close()
        if server is not None:
            server.close()


def open_named_store(url: str, env: Mapping[str, str]) -> Store:
    """The store of an address.

    Raises
    ------
    BadConfig
        If it is no address of a store.
    """
    try:
        return open_store(url, env)
    except ValueError as error:
        raise BadConfig(f"VIRIDIAN_STORE: {error}") from None
