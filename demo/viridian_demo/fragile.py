"""A model that is as good as any in evaluation and breaks in service: the case that no offline gate can see.

It is a plug-in like a user's own (``spec.training.config.architecture``): a DeepFM with a cache that
nobody ever empties, and that overflows after some hundred calls.
"""

from __future__ import annotations

from torch import Tensor

from viridian_model.deepfm import DeepFM
from viridian_model.features import FeatureBatch

CACHE_SIZE = 300


class FragileDeepFM(DeepFM):
    """Raises after ``CACHE_SIZE`` calls of inference in one process."""

    _cached = 0

    def forward(self, batch: FeatureBatch) -> Tensor:
        """Return logits ``[n]``, for a while."""
        if not self.training:
            self._cached += 1
            if self._cached > CACHE_SIZE:
                raise RuntimeError("the feature cache is full")
        return super().forward(batch)
