"""One pass over the training part of a window.

Equal inputs give bit-identical weights on a CPU, also when the process was stopped or killed on the way and
went on from a checkpoint: the order of events, the replayed sample, new rows and the initial weights depend
on the window, the parent and the seed only.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from viridian_model.bundle import Bundle
from viridian_model.contract import ModelSpec, RankingModel
from viridian_trainer.environment import TrainInput
from viridian_trainer.errors import BadConfig
from viridian_trainer.eventlog import EventLog, Offset, Window, check_present
from viridian_trainer.gang.group import ALONE, Group
from viridian_trainer.spec import TrainerConfig, model_spec, split_config
from viridian_trainer.stop import StopRequest
from viridian_trainer.training.checkpoint import CheckpointStore
from viridian_trainer.training.learner import Learner
from viridian_trainer.training.plan import Plan
from viridian_trainer.training.progress import NOBODY, Observer
from viridian_trainer.training.randomness import seed_all
from viridian_trainer.training.replay import draw, nothing
from viridian_trainer.training.window_pass import WindowPass
from viridian_trainer.window import Split, split_by_time


@dataclass(frozen=True)
class Trained:
    """A finished pass: ``origin`` is where the lineage's data begin, ``seconds`` wall times by part."""

    learner: Learner
    spec: ModelSpec
    split: Split
    origin: Mapping[str, Offset]
    replay: Mapping[str, Any]
    seconds: Mapping[str, float]


def train(
    task: TrainInput,
    log: EventLog,
    parent: Bundle | None,
    store: CheckpointStore,
    stop: StopRequest,
    observer: Observer = NOBODY,
    group: Group = ALONE,
) -> Trained:
    """Train a candidate, from ``parent`` unless the update is Full, or go on from a checkpoint in ``store``.

    In a ``group`` this is what rank 0 does; see `follow` for the others.

    Raises
    ------
    BadData, DataTrimmed
        If the window cannot be trained on.
    BadConfig
        If the configuration does not fit, or differs from the parent's in an Incremental update.
    Stopped
        If a stop was requested; a checkpoint was written.
    """
    parent = None if task.update.kind == "Full" else parent
    config, spec = _configure(task)
    _check_parent(spec, parent)
    store.open()
    learner = _new_learner(task, config, spec, parent, group)
    origin = origin_of(parent) if parent else task.window.start
    begun = time.monotonic()
    saved = store.newest()
    plan = Plan.resume(learner, saved) if saved else _prepare(task, log, learner, origin)
    group.announce(lambda: saved.name if saved else _first_checkpoint(plan, store))
    read_done = time.monotonic()
    with stop.deferred():
        WindowPass(task, log, plan, config.checkpoint_events, store, stop, observer, group).run()
        plan.learner.end()
    seconds = {"read": round(read_done - begun, 3), "train": round(time.monotonic() - read_done, 3)}
    return Trained(plan.learner, spec, plan.split, origin, plan.sample.record, seconds)


def follow(task: TrainInput, log: EventLog, store: CheckpointStore, stop: StopRequest, group: Group) -> None:
    """Train along with rank 0, from the checkpoint that it names, unless there is nothing to train.

    Raises
    ------
    BadConfig
        If the configuration does not fit, or this rank does not see the checkpoints of rank 0.
    PeerLost
        If another rank ended.
    TaskError
        As `train` does.
    """
    config, spec = _configure(task)
    name = group.told()
    if name is None:
        return
    plan = Plan.resume(_new_learner(task, config, spec, None, group), store.shared(name))
    with stop.deferred():
        WindowPass(task, log, plan, config.checkpoint_events, store, stop, NOBODY, group).run()


def identity(task: TrainInput) -> dict[str, Any]:
    """Everything that decides about the result of a training; checkpoints of another identity are not used."""
    return {
        "window": task.window.wire(),
        "fresh": task.fresh,
        "parent": task.parent.digest if task.parent and task.update.kind == "Incremental" else None,
        "kind": task.update.kind,
        "config": {k: v for k, v in task.config.items() if k != "checkpointEvents"},
        "seed": task.seed,
        "data": task.data.model_dump(mode="json", exclude={"source"}),
        **({"split": task.split} if task.split != "Holdout" else {}),
        **({"ranks": task.ranks} if task.ranks > 1 else {}),
    }


def origin_of(parent: Bundle) -> dict[str, Offset]:
    """Where the data of the parent's lineage begin."""
    recorded = (parent.manifest.model_extra or {}).get("origin")
    return dict(recorded) if isinstance(recorded, dict) else dict(parent.manifest.window.start)


def _check_parent(spec: ModelSpec, parent: Bundle | None) -> None:
    if parent is not None and parent.spec.to_json() != spec.to_json():
        raise BadConfig(
            "spec.training.config or spec.data.schema differ from those of the parent version in what makes the model; "
            "run a Full update, or undo the change"
        )


def _configure(task: TrainInput) -> tuple[TrainerConfig, ModelSpec]:
    """The configuration and the model that it makes; torch is set up for it."""
    config, rest = split_config(task.config)
    spec = model_spec(config, rest, task.data.event_schema)
    make_deterministic(config, task.seed)
    return config, spec


def _first_checkpoint(plan: Plan, store: CheckpointStore) -> str:
    """What the other ranks begin with: the same weights, parts of the window and replayed sample."""
    name = plan.save(store)
    if name is None:
        raise BadConfig("the first checkpoint cannot be written, and the other processes begin with it; see the log")
    return name


def make_deterministic(config: TrainerConfig, seed: int) -> None:
    """Start all generators from ``seed``, and ask torch for kernels that always give the same bits."""
    seed_all(seed)
    torch.set_num_threads(config.threads)
    # What `use_deterministic_algorithms` does without importing the compiler, which takes as long as torch itself;
    # a model that compiles itself imports it later, and then it reads the variable.
    torch.set_deterministic_debug_mode("error" if config.device == "cpu" else "default")
    os.environ["TORCHINDUCTOR_DETERMINISTIC"] = str(int(config.device == "cpu"))
    # The default, said aloud, since torch warns otherwise.
    torch.sparse.check_sparse_tensor_invariants.disable()  # type: ignore[no-untyped-call]


def _new_learner(
    task: TrainInput, config: TrainerConfig, spec: ModelSpec, parent: Bundle | None, group: Group
) -> Learner:
    seed_all(task.seed)
    model = _on_device(parent.load_model() if parent else spec.build(), group.device(config.device))
    learner = Learner(model.train(), config, task.window.start, task.data.allowed_lateness, group)
    if parent:
        learner.load_kept(parent.optimizer())
    return learner


def _on_device(model: RankingModel, device: str) -> RankingModel:
    if device != "cpu" and isinstance(model, nn.Module):
        try:
            model.to(device)
        except (RuntimeError, AssertionError) as error:
            raise BadConfig(f"spec.training.config.device {device!r} cannot be used: {error}") from None
    return model


def _prepare(task: TrainInput, log: EventLog, learner: Learner, origin: Mapping[str, Offset]) -> Plan:
    check_present(log, task.window)
    data = task.data
    # the champion has trained on what is older: held out, that would speak for it and against the candidate
    fresh = Window(task.fresh, task.window.end)
    newest = split_by_time(
        log,
        fresh,
        data.event_schema,
        data.holdout.fraction,
        data.max_rejected,
        prequential=task.split == "Prequential",
    )
    split = replace(newest, train=Window(task.window.start, newest.train.end))
    wanted = int(split.train.total * data.replay.ratio)
    seed = (task.seed << 32) | task.update.number
    if wanted and origin != task.window.start:
        return Plan(learner, split, draw(log, origin, task.window.start, wanted, seed, data.event_schema))
    return Plan(learner, split, nothing({"seed": seed, "events": 0}))
