"""Paired comparison of two models on the same events, with events of one user kept together.

Events of a user depend on each other, so that users are resampled and not events (cluster bootstrap; Field
and Welsh, JRSS B 69, 2007). Intervals are bias-corrected and accelerated where that is affordable (Efron,
JASA 82, 1987).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

RESAMPLES = 2000
#: Above so many users the jackknife of BCa costs more than it gives; the percentile interval is used instead.
BCA_USERS = 3000
_POWER = 0.8
_CELLS = 4_000_000


@dataclass(frozen=True)
class Difference:
    """How much better the candidate is, per event, in units of the metric; above 0 is better.

    ``low`` to ``high`` is the two-sided interval, ``minimum_detectable`` the smallest true difference that
    an interval of this width excludes 0 for with a probability of 80 %.
    """

    mean: float
    low: float
    high: float
    minimum_detectable: float
    events: int
    users: int


def log_losses(logits: Floats, labels: Floats) -> Floats:
    """Log loss of each event ``[n]`` in nats, stable for any finite logit."""
    return np.logaddexp(0.0, logits) - labels * logits


def loss_difference(champion: Floats, candidate: Floats, users: Ints, confidence: float, seed: int) -> Difference:
    """Mean of the losses of the champion minus those of the candidate, all ``[n]``, with its interval."""
    _, cluster = np.unique(users, return_inverse=True)
    counts = np.bincount(cluster).astype(np.float64)
    sums = np.bincount(cluster, weights=champion - candidate)
    mean = float(sums.sum() / counts.sum())
    if not np.isfinite(sums).all():
        return Difference(mean, float("-inf"), float("inf"), float("inf"), len(users), len(counts))
    if len(counts) < 2 or np.ptp(champion - candidate) == 0:
        return _degenerate(mean, len(users), len(counts))
    low, high, error = _ratio_interval(sums, counts, confidence, seed)
    return Difference(mean, low, high, detectable(error, confidence), len(users), len(counts))


def auroc_difference(
    champion: Floats, candidate: Floats, labels: Floats, users: Ints, confidence: float, seed: int
) -> Difference:
    """AUROC of the candidate minus that of the champion (scores and labels ``[n]``), with a percentile
    interval.
    """
    _, cluster = np.unique(users, return_inverse=True)
    count = int(cluster.max()) + 1
    ones = np.ones((1, len(users)))
    mean = float((weighted_auroc(candidate, labels, ones) - weighted_auroc(champion, labels, ones))[0])
    if not np.isfinite(mean):
        return Difference(0.0, float("-inf"), float("inf"), float("inf"), len(users), count)
    if count < 2:
        return _degenerate(mean, len(users), count)
    generator = np.random.default_rng(seed)
    parts = []
    for size in _chunks(len(users)):
        weights = generator.multinomial(count, np.full(count, 1 / count), size=size)[:, cluster].astype(np.float64)
        parts.append(weighted_auroc(candidate, labels, weights) - weighted_auroc(champion, labels, weights))
    draws = np.concatenate(parts)
    draws = draws[np.isfinite(draws)]
    tail = (1 - confidence) / 2
    low, high = (float(bound) for bound in np.quantile(draws, [tail, 1 - tail]))
    return Difference(mean, low, high, detectable(float(draws.std(ddof=1)), confidence), len(users), count)


def weighted_auroc(scores: Floats, labels: Floats, weights: Floats) -> Floats:
    """Area under the ROC curve for each row of ``weights`` ``[r, n]``; ties count half, NaN without both
    labels.
    """
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(scores[order]) != 0])
    ordered = weights[:, order]
    positive = np.add.reduceat(ordered * labels[order], starts, axis=1)
    negative = np.add.reduceat(ordered * (1 - labels[order]), starts, axis=1)
    below = np.cumsum(negative, axis=1) - negative
    with np.errstate(invalid="ignore", divide="ignore"):
        area: Floats = (positive * (below + 0.5 * negative)).sum(1) / (positive.sum(1) * negative.sum(1))
    return area


def detectable(error: float, confidence: float) -> float:
    """Smallest true difference found with 80 % probability, for a standard error ``error``."""
    return float((stats.norm.ppf((1 + confidence) / 2) + stats.norm.ppf(_POWER)) * error)


def _ratio_interval(sums: Floats, counts: Floats, confidence: float, seed: int) -> tuple[float, float, float]:
    """Interval and standard error of ``sum(sums) / sum(counts)`` over resampled users."""

    def ratio(values: Floats, sizes: Floats, axis: int = -1) -> Floats:
        result: Floats = values.sum(axis=axis) / sizes.sum(axis=axis)
        return result

    found = stats.bootstrap(
        (sums, counts),
        ratio,
        n_resamples=RESAMPLES,
        batch=max(1, _CELLS // (2 * len(sums))),
        vectorized=True,
        paired=True,
        confidence_level=confidence,
        method="BCa" if len(sums) <= BCA_USERS else "percentile",
        rng=np.random.default_rng(seed),
    )
    low, high = float(found.confidence_interval.low), float(found.confidence_interval.high)
    if not (np.isfinite(low) and np.isfinite(high)):  # BCa is undefined where all resamples fall on one side
        tail = (1 - confidence) / 2
        low, high = (float(x) for x in np.quantile(found.bootstrap_distribution, [tail, 1 - tail]))
    return low, high, float(found.standard_error)


def _degenerate(mean: float, events: int, users: int) -> Difference:
    """One user tells nothing about others; identical losses everywhere leave no doubt."""
    if users < 2 and mean != 0:
        return Difference(mean, float("-inf"), float("inf"), float("inf"), events, users)
    return Difference(mean, mean, mean, 0.0, events, users)


def _chunks(events: int) -> list[int]:
    """Sizes of the parts in which resamples fit in memory."""
    size = max(1, _CELLS // events)
    return [min(size, RESAMPLES - done) for done in range(0, RESAMPLES, size)]
