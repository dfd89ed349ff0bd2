"""The version that online weights are measured against, and go back to: the last anchor that passed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch

from viridian_model.bundle import Bundle
from viridian_model.contract import RankingModel
from viridian_model.served import state_of
from viridian_trainer.environment import VersionRef
from viridian_trainer.online.hygiene import Baseline


@dataclass(frozen=True)
class Champion:
    """A verified bundle on this machine, and its version in the registry."""

    version: str
    bundle: Bundle

    @property
    def ref(self) -> VersionRef:
        """Version and digest."""
        return VersionRef(self.version, self.bundle.digest)

    @cached_property
    def model(self) -> RankingModel:
        """Its model in evaluation mode; nothing may train it."""
        with torch.random.fork_rng(devices=[]):  # a model is built before it is loaded, and draws then
            return self.bundle.load_model()

    @cached_property
    def baseline(self) -> Baseline:
        """What deltas are checked against."""
        return Baseline.of(state_of(self.model), self.bundle.golden)
