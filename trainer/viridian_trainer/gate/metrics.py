"""Metrics of one model on the held-out events, by torchmetrics."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from viridian_trainer.gate.statistics import Floats, log_losses
from viridian_trainer.spec import METRICS


def metrics_of(logits: Floats, labels: Floats) -> dict[str, float]:
    """Metrics of ``logits`` against ``labels``, both ``[n]``; undefined ones are NaN.

    ``calibration`` is mean prediction over mean label, ``entropy`` the log loss over that of the base rate
    (He et al., "Practical Lessons from Predicting Clicks on Ads at Facebook", 2014), ``ece`` the expected
    calibration error of 15 bins; accuracy, recall and precision are taken at a probability of 0.5.
    """
    losses = float(log_losses(logits, labels).mean())
    probabilities = 1 / (1 + np.exp(-np.clip(logits, -700, 700)))
    base = float(labels.mean())
    values = {
        "logloss": losses,
        "brier": float(np.square(probabilities - labels).mean()),
        "calibration": float(probabilities.mean() / base) if base else math.nan,
        "entropy": losses / _entropy(base) if 0 < base < 1 else math.nan,
    }
    prediction, target = torch.from_numpy(probabilities).float(), torch.from_numpy(labels).long()
    if not torch.isfinite(prediction).all():
        return values | dict.fromkeys(set(METRICS) - set(values), math.nan)
    return values | {name: _value(metric, prediction, target) for name, metric in _library().items()}


def rounded(metrics: Mapping[str, float], digits: int = 6) -> dict[str, float]:
    """Finite metrics, rounded for the termination message and for people."""
    return {name: round(value, digits) for name, value in metrics.items() if math.isfinite(value)}


def _value(metric: Callable[[Tensor, Tensor], Tensor], prediction: Tensor, target: Tensor) -> float:
    if target.min() == target.max():
        return math.nan
    return float(metric(prediction, target))


def _entropy(rate: float) -> float:
    return -(rate * math.log(rate) + (1 - rate) * math.log(1 - rate))


def _library() -> dict[str, Callable[[Tensor, Tensor], Tensor]]:
    # Imported here: it costs seconds that a training need not wait for.
    from torchmetrics.functional import classification as library

    return {
        "auroc": library.binary_auroc,
        "auprc": library.binary_average_precision,
        "ece": library.binary_calibration_error,
        "accuracy": library.binary_accuracy,
        "recall": library.binary_recall,
        "precision": library.binary_precision,
    }
