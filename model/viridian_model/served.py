"""The served state of a model as arrays that share memory with its tensors."""

from __future__ import annotations

from viridian_model.chain.state import ModelState
from viridian_model.contract import RankingModel


def state_of(model: RankingModel) -> ModelState:
    """Return views of everything that is saved: for `DeltaBuilder.build`, `Roots.of`, or to be copied."""
    raise NotImplementedError
