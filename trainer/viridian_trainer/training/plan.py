"""What is fixed before the first step of a training, and its way into checkpoints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch

from viridian_model.features import FeatureBatch
from viridian_trainer.eventlog import Window
from viridian_trainer.training.checkpoint import Checkpoint, CheckpointStore
from viridian_trainer.training.learner import Learner
from viridian_trainer.training.replay import Sample, nothing
from viridian_trainer.window import Split


@dataclass(frozen=True)
class Plan:
    """The learner with the parts of the window and the replayed sample."""

    learner: Learner
    split: Split
    sample: Sample

    @classmethod
    def resume(cls, learner: Learner, saved: Checkpoint) -> Self:
        """Go on from a checkpoint; ``learner`` takes over its state."""
        learner.load_state(saved.tensors, saved.meta)
        windows = {part: Window.parse(saved.meta[part]) for part in ("train", "holdout")}
        predicted = Window.parse(saved.meta["predicted"]) if saved.meta["predicted"] else None
        split = Split(windows["train"], windows["holdout"], saved.meta["rejected"], predicted)
        return cls(learner, split, _load_sample(saved))

    def save(self, store: CheckpointStore) -> str | None:
        """Write a checkpoint, at the border of a batch; gives its name, or None if the disk refused it."""
        tensors, meta = self.learner.state()
        meta |= {
            "train": self.split.train.wire(),
            "holdout": self.split.holdout.wire(),
            "predicted": self.split.predicted.wire() if self.split.predicted else None,
            "rejected": self.split.rejected,
        }
        meta["replay"] = dict(self.sample.record)
        if self.sample.features is not None:
            parts = {"categorical": self.sample.features.categorical, "numeric": self.sample.features.numeric}
            tensors |= {f"replay/{kind}/{name}": v for kind, part in parts.items() for name, v in part.items()}
            tensors |= {"replay-labels": self.sample.labels, "replay-times": self.sample.times}
        return store.save(self.learner.counts.trained, tensors, meta)


def _load_sample(saved: Checkpoint) -> Sample:
    if "replay-labels" not in saved.tensors:
        return nothing(saved.meta["replay"])
    parts: dict[str, dict[str, torch.Tensor]] = {"categorical": {}, "numeric": {}}
    for name, value in saved.tensors.items():
        if name.startswith("replay/"):
            _, kind, field = name.split("/", 2)
            parts[kind][field] = value
    labels, times = saved.tensors["replay-labels"], saved.tensors["replay-times"]
    features = FeatureBatch(parts["categorical"], parts["numeric"], len(labels))
    return Sample(features, labels, times, saved.meta["replay"])
