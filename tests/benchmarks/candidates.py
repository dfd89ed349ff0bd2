"""Simulated candidates for the gate: windows of the generator's events, and models whose errors are known.

What is true is known from the generator. A model errs in what it says of each user and of each event; a part of that
is common to all models of the same data, so that a champion and a candidate differ less than each from the truth.
Labels are drawn anew for every candidate.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from viridian_model.bundle import finish
from viridian_model.contract import ModelSpec, RankingModel
from viridian_model.ids import id_hash
from viridian_model.inference import golden_answers
from viridian_model.requests import inputs_of_rows
from viridian_model.schema import Schema
from viridian_trainer.gate.evaluate import BASELINE, CANDIDATE, CHAMPION, Judged, judge
from viridian_trainer.gate.hygiene import Inputs, Subject, failed_checks
from viridian_trainer.gate.scoring import Holdout, Scores
from viridian_trainer.gate.statistics import Floats, log_losses
from viridian_trainer.spec import Gate
from viridian_trainer.synthetic import SyntheticConfig, World

#: Standard deviations of errors of the logit: by user and by event, common to two models and of each alone. Those of
#: DeepFM after 20,000 events of the generator are so large in common; two trainings that differ in the seed alone have
#: 0.05 and 0.06 of their own, here they have more.
COMMON, OWN = (0.65, 0.8), (0.15, 0.15)
EVENTS = 60_000
SCHEMA = Schema(categorical=("user", "item"))
Ints = NDArray[np.int64]
#: Makes the logits of a bad candidate out of those of a good one.
Damage = Callable[["Slice", Floats], Floats]


@dataclass(frozen=True)
class Crowd:
    """Events of the generator: hashes of users and items, true logits ``[n]``, and the ``stale`` ones that follow from
    the features of other users.
    """

    users: Ints
    items: Ints
    logits: Floats
    stale: Floats

    @classmethod
    def of(cls, users: int) -> Crowd:
        """Of a world with so many users."""
        events = list(World(SyntheticConfig(seed=11, users=users)).events(0, EVENTS))
        columns = ([id_hash(each.row[name]) for each in events] for name in ("user", "item"))
        true = np.array([each.probability for each in events])
        hashed = [np.array(column, dtype=np.int64) for column in columns]
        logits = np.log(true) - np.log1p(-true)
        return cls(*hashed, logits, _of_others(hashed[0], logits))

    def window(self, generator: np.random.Generator, events: int) -> Slice:
        """So many events in a row, with labels drawn anew."""
        start = int(generator.integers(0, len(self.users) - events + 1))
        part = slice(start, start + events)
        labels = (generator.random(events) < 1 / (1 + np.exp(-self.logits[part]))).astype(np.float64)
        parts = (each[part] for each in (self.users, self.items, self.logits, self.stale))
        return Slice(generator, *parts, labels)


@cache
def crowd(users: int) -> Crowd:
    """The crowd of so many users, made once."""
    return Crowd.of(users)


def _of_others(users: Ints, logits: Floats) -> Floats:
    """What a model would say that gets the features of other users, as from a stale cache."""
    unique, inverse = np.unique(users, return_inverse=True)
    means = np.bincount(inverse, logits) / np.bincount(inverse)
    swapped = np.roll(means, len(unique) // 2)
    found: Floats = logits - means[inverse] + swapped[inverse]
    return found


@dataclass(frozen=True)
class Slice:
    """The events that judge one candidate."""

    generator: np.random.Generator
    users: Ints
    items: Ints
    logits: Floats
    stale: Floats
    labels: Floats

    def errors(self, sizes: tuple[float, float]) -> Floats:
        """Errors by user and by event, added up ``[n]``."""
        unique, inverse = np.unique(self.users, return_inverse=True)
        by_user = self.generator.normal(0, sizes[0], len(unique))[inverse]
        found: Floats = by_user + self.generator.normal(0, sizes[1], len(self.users))
        return found

    def twins(self) -> tuple[Floats, Floats]:
        """Logits of two models that are equally good."""
        common = self.logits + self.errors(COMMON)
        return common + self.errors(OWN), common + self.errors(OWN)

    @property
    def holdout(self) -> Holdout:
        """As the gate wants it."""
        count = len(self.users)
        ids, times = [str(n) for n in range(count)], np.arange(float(count))
        return Holdout(ids, times, self.users, self.items, self.labels, {}, 0, 0)


def verdict(seed: int, events: int, users: int, gate: Gate, damage: Damage) -> Judged:
    """The gate's answer to one candidate: a twin of the champion, with ``damage``."""
    part = crowd(users).window(np.random.default_rng(seed), events)
    champion, sound = part.twins()
    candidate = damage(part, sound)
    logits = {CANDIDATE: candidate, CHAMPION: champion, BASELINE: np.full(events, part.logits.mean())}
    failed = _hygiene(candidate, champion, part.labels)
    return judge(gate, f"sha256:{seed:08x}", part.holdout, logits, failed, {})


def _hygiene(candidate: Floats, champion: Floats, labels: Floats) -> dict[str, str]:
    """What the gate's cheap checks say of the answers; the weights are sound."""
    healthy = _healthy()
    ours, theirs = (replace(healthy.candidate, scores=Scores(logits, {})) for logits in (candidate, champion))
    return failed_checks(replace(healthy, candidate=ours, champion=theirs, labels=labels))


@cache
def _healthy() -> Inputs:
    model = _model()
    rows: list[dict[str, Any]] = [{"user": f"u{n}", "item": f"i{n}"} for n in range(4)]
    subject = Subject(model, Scores(np.zeros(0), {}), model.signature())
    return Inputs(subject, subject, golden_answers(model, [inputs_of_rows(rows, SCHEMA)]), SCHEMA, np.zeros(0))


def _model() -> RankingModel:
    torch.manual_seed(1)
    return finish(ModelSpec.of(SCHEMA, config={"dim": 2, "hidden": []}).build())


def twin(_: Slice, logits: Floats) -> Floats:
    """No damage."""
    return logits


def flipped(_: Slice, logits: Floats) -> Floats:
    """Trained on labels that mean the opposite."""
    return -logits


def not_a_number(part: Slice, logits: Floats) -> Floats:
    """One answer of the many is NaN."""
    found = logits.copy()
    found[part.generator.integers(0, len(found))] = np.nan
    return found


def scaled(_: Slice, logits: Floats) -> Floats:
    """Weights that blew up."""
    return 10 * logits


def stale(part: Slice, logits: Floats) -> Floats:
    """Features of users that belong to others."""
    return logits - part.logits + part.stale


def worse_by(loss: float, users: int) -> Damage:
    """A candidate whose expected log loss is higher by ``loss`` than that of a twin, by more noise in each answer.

    How much is found by bisection over all events of the crowd, with labels at their true rates.
    """
    whole = crowd(users).window(np.random.default_rng(0), EVENTS)
    twin_of, _ = whole.twins()
    rates = 1 / (1 + np.exp(-whole.logits))
    noise = np.random.default_rng(1).normal(0, 1, EVENTS)

    def excess(size: float) -> float:
        return float((log_losses(twin_of + size * noise, rates) - log_losses(twin_of, rates)).mean())

    low, high = 0.0, 10.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) < loss else (low, middle)
    return lambda part, logits: logits + part.generator.normal(0, high, len(logits))


#: None of these may ever pass.
POISONS = (flipped, not_a_number, scaled, stale)
