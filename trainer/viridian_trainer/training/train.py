"""One pass over the training part of a window.

Equal inputs give bit-identical weights on a CPU, also when the process was stopped or killed on the way and
went on from a checkpoint: the order of events, the replayed sample, new rows and the initial weights depend
on the window, the parent and the seed only.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from viridian_model.bundle import Bundle
from viridian_model.contract import ModelSpec, RankingModel
from viridian_trainer.environment import TrainInput
from viridian_trainer.errors import BadConfig, BadData
from viridian_trainer.eventlog import EventLog, Offset, Window, check_present, read
from viridian_trainer.spec import TrainerConfig, model_spec, split_config
from viridian_trainer.stop import StopRequest
from viridian_trainer.training.checkpoint import CheckpointStore
from viridian_trainer.training.learner import Learner
from viridian_trainer.training.plan import Plan
from viridian_trainer.training.progress import NOBODY, Observer, Progress
from viridian_trainer.training.randomness import seed_all
from viridian_trainer.training.replay import Sample, draw
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
) -> Trained:
    """Train a candidate, from ``parent`` unless the update is Full, or go on from a checkpoint in ``store``.

    Raises
    ------
    BadData, DataTrimmed
        If the window cannot be trained on.
    BadConfig
        If the configuration does not fit, or differs from the parent's in an Incremental update.
    Stopped
        If a stop was requested; a checkpoint was written.
    """
    config, rest = split_config(task.config)
    parent = None if task.update.kind == "Full" else parent
    spec = model_spec(config, rest, task.data.event_schema)
    _check_parent(spec, parent)
    make_deterministic(config, task.seed)
    store.open()
    learner = _new_learner(task, config, spec, parent)
    origin = origin_of(parent) if parent else task.window.start
    begun = time.monotonic()
    saved = store.newest()
    plan = Plan.resume(learner, saved) if saved else _prepare(task, log, learner, origin)
    read_done = time.monotonic()
    with stop.deferred():
        _Pass(task, log, plan, config, store, stop, observer).run()
    seconds = {"read": round(read_done - begun, 3), "train": round(time.monotonic() - read_done, 3)}
    return Trained(plan.learner, spec, plan.split, origin, plan.sample.record, seconds)


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


def make_deterministic(config: TrainerConfig, seed: int) -> None:
    """Start all generators from ``seed``, and ask torch for kernels that always give the same bits."""
    seed_all(seed)
    torch.set_num_threads(config.threads)
    torch.use_deterministic_algorithms(config.device == "cpu")
    # The default, said aloud, since torch warns otherwise.
    torch.sparse.check_sparse_tensor_invariants.disable()  # type: ignore[no-untyped-call]


def _new_learner(task: TrainInput, config: TrainerConfig, spec: ModelSpec, parent: Bundle | None) -> Learner:
    seed_all(task.seed)
    model = _on_device(parent.load_model() if parent else spec.build(), config.device)
    learner = Learner(model.train(), config, task.window.start, task.data.allowed_lateness)
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
    return Plan(learner, split, Sample(None, torch.zeros(0), {"seed": seed, "events": 0}))


@dataclass
class _Pass:
    """Reads the training part batch by batch, with a checkpoint now and then."""

    task: TrainInput
    log: EventLog
    plan: Plan
    config: TrainerConfig
    store: CheckpointStore
    stop: StopRequest
    observer: Observer
    saved_at: int = field(init=False)
    progress: Progress = field(init=False)

    def __post_init__(self) -> None:
        self.saved_at = self.plan.learner.counts.trained
        self.progress = Progress(self.observer, self.plan.split.train.total)

    def run(self) -> None:
        """Up to the slice that is predicted, if there is one, then to the end of the training part."""
        learner, predicted = self.plan.learner, self.plan.split.predicted
        if predicted is not None and learner.predictions is None:
            self._through(predicted.start)
            learner.begin_slice()
        self._through(self.plan.split.train.end)
        self.progress.update(learner.counts, final=True)
        if learner.counts.trained == 0:
            raise BadData("every event of the window was seen before; nothing is left to train on")
        self.plan.save(self.store)
        self.stop.check()

    def _through(self, end: Mapping[str, Offset]) -> None:
        learner = self.plan.learner
        for entry in read(self.log, Window(learner.offsets.copy(), end), self.task.data.event_schema):
            learner.take(entry)
            if learner.batch_is_full:
                self._step()
                self._save_if_due()
        self._step()

    def _step(self) -> None:
        self.plan.learner.step(self.plan.sample, self.task.data.replay.ratio)
        self.progress.update(self.plan.learner.counts)

    def _save_if_due(self) -> None:
        trained = self.plan.learner.counts.trained
        if self.stop.requested or trained - self.saved_at >= self.config.checkpoint_events:
            self.plan.save(self.store)
            self.saved_at = trained
            self.stop.check()
