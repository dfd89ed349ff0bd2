"""Click events with known truth: clusters of users, Zipf items, births, drift at known points, and faults
on request.

The probability of a click is ``sigmoid(base + quality(item) + affinity(cluster(user), genre(item)) +
habit(user) + hour)``. Everything is a pure function of the seed and the number of the event, so that a
stream can be continued at any event and generated in any portion.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BLOCK = 1000
CLUSTERS, GENRES = 4, 6
BASE_LOGIT = -0.7
#: Event number by which all users and items are born.
HORIZON = 200_000
LATE_SECONDS = 600.0


@dataclass(frozen=True)
class SyntheticConfig:
    """What is generated.

    ``start`` in seconds since the epoch, ``spacing`` in seconds between events; ``change_points`` are event
    numbers at which tastes and popularity change; ``flip_labels``, ``duplicates`` and ``late`` are
    fractions of events. A duplicate repeats an event of the last 50 under its id, a late event carries a
    time 600 s before its turn.
    """

    seed: int = 7
    users: int = 1000
    items: int = 300
    start: float = 1_700_000_000.0
    spacing: float = 1.0
    zipf: float = 1.0
    change_points: tuple[int, ...] = ()
    flip_labels: float = 0.0
    duplicates: float = 0.0
    late: float = 0.0


@dataclass(frozen=True)
class Impression:
    """One generated event; ``probability`` is the true one of a click, before labels are flipped."""

    row: dict[str, Any]
    probability: float
    duplicate: bool = False
    late: bool = False


class World:
    """Users, items and tastes of one seed."""

    def __init__(self, config: SyntheticConfig) -> None:
        self.config = config
        generator = np.random.default_rng([config.seed, 0])
        self._cluster = generator.integers(0, CLUSTERS, config.users)
        self._habit = generator.normal(0, 1.0, config.users)
        self._activity = generator.lognormal(0, 1, config.users)
        self._user_birth = _births(generator, config.users)
        self._genre = generator.integers(0, GENRES, config.items)
        self._item_birth = _births(generator, config.items)
        self._hour = generator.normal(0, 0.2, 24)
        self._tastes = [self._taste(era) for era in range(len(config.change_points) + 1)]

    def events(self, first: int, count: int) -> Iterator[Impression]:
        """Events number ``first`` to ``first + count - 1``; duplicates come on top and carry no number of
        their own.
        """
        for block in range(first // BLOCK, (first + count - 1) // BLOCK + 1):
            for number, impression in self._block(block):
                if first <= number < first + count:
                    yield impression

    def _taste(self, era: int) -> tuple[Floats, Floats, Floats]:
        """Weight and quality per item and affinity by cluster and genre, between two change points."""
        generator = np.random.default_rng([self.config.seed, 1, era])
        weight: Floats = np.power(generator.permutation(self.config.items) + 3.0, -self.config.zipf)
        quality = generator.normal(0, 0.5, self.config.items)
        return weight, quality, generator.normal(0, 1.2, (CLUSTERS, GENRES))

    def _block(self, block: int) -> Iterator[tuple[int, Impression]]:
        generator = np.random.default_rng([self.config.seed, 2, block])
        numbers = np.arange(block * BLOCK, (block + 1) * BLOCK)
        eras = np.searchsorted(np.array(self.config.change_points), numbers, side="right")
        recent: list[tuple[int, Impression]] = []
        for era in np.unique(eras):
            for impression in self._portion(numbers[eras == era], int(era), generator):
                recent.append(impression)
                yield impression
                if self.config.duplicates and generator.random() < self.config.duplicates:
                    _, original = recent[-1 - int(generator.integers(0, min(50, len(recent))))]
                    yield impression[0], replace(original, duplicate=True)

    def _portion(self, numbers: Ints, era: int, generator: np.random.Generator) -> list[tuple[int, Impression]]:
        size = len(numbers)
        weight, quality, affinity = self._tastes[era]
        users = _draw(generator, self._activity * (self._user_birth <= numbers[0]), size)
        items = _draw(generator, weight * (self._item_birth <= numbers[0]), size)
        times = self.config.start + numbers * self.config.spacing
        hours = (times // 3600 % 24).astype(np.int64)
        logits = BASE_LOGIT + quality[items] + affinity[self._cluster[users], self._genre[items]]
        probabilities = 1 / (1 + np.exp(-(logits + self._habit[users] + self._hour[hours])))
        labels = generator.random(size) < probabilities
        labels ^= generator.random(size) < self.config.flip_labels
        late = generator.random(size) < self.config.late
        times = times - LATE_SECONDS * late
        rows = zip(numbers, times, users, items, hours, labels, probabilities, late, strict=True)
        return [
            (int(n), Impression(self._row(int(n), float(t), int(u), int(i), int(h), bool(y)), float(p), late=bool(w)))
            for n, t, u, i, h, y, p, w in rows
        ]

    def _row(self, number: int, moment: float, user: int, item: int, hour: int, label: bool) -> dict[str, Any]:
        identity = f"s{self.config.seed}-{number}"
        return {
            "id": identity,
            "ts": moment,
            "user": f"u{user}",
            "item": f"i{item}",
            "hour": str(hour),
            "label": int(label),
        }


def _births(generator: np.random.Generator, count: int) -> Ints:
    """Event number from which each exists: seven of ten from the beginning, the rest spread over the
    horizon.
    """
    births = generator.integers(0, HORIZON, count)
    births[generator.random(count) < 0.7] = 0
    births[0] = 0
    return births


def _draw(generator: np.random.Generator, weights: Floats, size: int) -> Ints:
    cumulative = np.cumsum(weights)
    chosen: Ints = np.searchsorted(cumulative, generator.random(size) * cumulative[-1], side="right")
    return chosen
