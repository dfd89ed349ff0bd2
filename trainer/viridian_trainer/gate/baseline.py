"""Predictions of the popularity baseline, from what the candidate counted."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from viridian_trainer.gate.scoring import Holdout
from viridian_trainer.gate.statistics import Floats
from viridian_trainer.training.popularity import ItemCounts

_BATCH = 128


def baseline_logits(kept: Mapping[str, Tensor], predicted: Holdout | None, untrained: Holdout) -> Floats:
    """Logits of the rates per item ``[n]``: of the ``predicted`` events, then of the ``untrained`` ones.

    The counts of ``kept`` include the labels of the predicted events, so that these are taken out again and
    counted batch by batch, each after it was predicted: the baseline knows no more than the candidate did.
    """
    counts, rates = ItemCounts.load(kept), []
    if predicted is not None:
        counts.remove(predicted.items, predicted.labels)
        for start in range(0, len(predicted), _BATCH):
            batch = slice(start, start + _BATCH)
            rates.append(counts.predict(predicted.items[batch]))
            counts.add(predicted.items[batch], predicted.labels[batch])
    if len(untrained):
        rates.append(counts.predict(untrained.items))
    found: Floats = np.concatenate([np.zeros(0), *rates])
    return np.log(found) - np.log1p(-found)
