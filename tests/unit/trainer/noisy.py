"""A model that draws from every generator there is while it trains."""

from __future__ import annotations

import random

import numpy as np
import torch
from torch import Tensor

from viridian_model.deepfm import DeepFM
from viridian_model.features import FeatureBatch


class Noisy(DeepFM):
    """DeepFM with noise on its logits, in training only."""

    def forward(self, batch: FeatureBatch) -> Tensor:
        logits = super().forward(batch)
        if not self.training:
            return logits
        noise = np.random.normal(size=len(batch)) * random.gauss(1, 0.1)
        return logits + 0.1 * torch.from_numpy(noise).float() + 0.1 * torch.randn(len(batch))
