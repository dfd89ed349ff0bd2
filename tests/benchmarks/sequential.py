"""The sequential test of online training: how often it stops a sound stream, and how soon one that got worse.

Labels are drawn from a truth that neither model knows. The champion is off by noise of 0.3 in the logit; the online
weights are the champion's with noise of their own. In a stable stream that noise costs half the margin; in a second
one as much as the margin allows, so that the hypothesis holds by no more than a hair; in a third one it costs half the
margin and belongs to users, who come in sessions of ten steps.
The worse model loses 5 % of the champion's log loss, by noise as after training on wrong labels.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats
from tests.benchmarks.result import Result

from viridian_trainer.gate.statistics import Floats
from viridian_trainer.online.sequential import CLIP, Evidence

STREAMS = int(os.environ.get("STREAMS", "300"))
EVENTS = int(os.environ.get("EVENTS", "1000000"))
STEP, SESSION = 50, 10
ALPHA, MARGIN, REGRESSION = 0.01, 0.002, 0.05
CHAMPION_NOISE = 0.3
PATIENCE = 10_000
Noise = Callable[[np.random.Generator, int], Floats]


@dataclass
class Stream:
    """Paired differences, nats ``[streams, STEP]`` a step; ``noise`` is that of the online weights."""

    generator: np.random.Generator
    noise: Noise
    streams: int = STREAMS

    def step(self) -> Floats:
        """The differences of the next step."""
        shape = (self.streams, STEP)
        truth = self.generator.standard_normal(shape, dtype=np.float32) - 1
        labels = self.generator.random(shape, dtype=np.float32) < 1 / (1 + np.exp(-truth))
        champion = truth + CHAMPION_NOISE * self.generator.standard_normal(shape, dtype=np.float32)
        online = champion + self.noise(self.generator, self.streams)
        return _losses(online, labels) - _losses(champion, labels)


def run() -> Result:
    """Events until a model that is 5 % worse from the start of its champion's life is stopped."""
    half = _scale(MARGIN / 2)
    sound, worse = _independent(half), _independent(_scale(REGRESSION * _champion_loss()))
    stable = _alarms(Stream(np.random.default_rng(1), sound))
    edge = _alarms(Stream(np.random.default_rng(8), _independent(_scale(MARGIN))))
    sessions = _alarms(Stream(np.random.default_rng(2), _by_user(half)))
    at_start = _delays(Evidence((STREAMS,)), Stream(np.random.default_rng(3), worse))
    late = {
        f"events until stopped, worse after {events} events, median": float(
            np.median(_delays(_played(events, sound), Stream(np.random.default_rng(4), worse)))
        )
        for events in (1000, 5000, 20_000, 100_000)
    }
    return Result(
        "events until a 5 % worse model is stopped, worse from the start",
        "events",
        at_start.tolist(),
        "the best bet in hindsight, started when it got worse",
        _oracle(Stream(np.random.default_rng(3), worse)).tolist(),
        {
            "streams": STREAMS,
            "events of a stable stream": EVENTS,
            "false alarms": stable,
            "false alarms, worse by exactly the margin": edge,
            "false alarms, users in sessions": sessions,
            "false alarm rate, upper bound (95 %)": float(stats.beta.ppf(0.95, stable + 1, max(STREAMS - stable, 1))),
            "false alarms of a z-test at 1 % after each step, 20000 events": _peeking(sound),
            **late,
        },
    )


def _losses(logits: Floats, labels: NDArray[np.bool_]) -> Floats:
    """Log losses in single precision; logits are small here."""
    found: Floats = np.log1p(np.exp(logits)) - labels * logits
    return found


def _independent(scale: np.float32) -> Noise:
    return lambda generator, streams: scale * generator.standard_normal((streams, STEP), dtype=np.float32)


def _by_user(scale: np.float32) -> Noise:
    """The same error for a user in all of a session; a tenth of the users leaves after each step."""
    kept: list[Floats] = []

    def noise(generator: np.random.Generator, streams: int) -> Floats:
        fresh = generator.standard_normal((streams, STEP if not kept else STEP // SESSION), dtype=np.float32)
        kept[:] = [fresh if not kept else np.concatenate([kept[0][:, STEP // SESSION :], fresh], axis=1)]
        return scale * kept[0]

    return noise


def _scale(cost: float) -> np.float32:
    """Standard deviation of the noise that costs ``cost`` nats on average."""

    def excess(scale: float) -> float:
        stream = Stream(np.random.default_rng(0), _independent(np.float32(scale)), 40_000)
        return float(stream.step().mean()) - cost

    return np.float32(optimize.brentq(excess, 0.01, 2.0, xtol=1e-3))


def _champion_loss() -> float:
    generator = np.random.default_rng(0)
    truth = generator.standard_normal(1_000_000) - 1
    labels = generator.random(len(truth)) < 1 / (1 + np.exp(-truth))
    return float(_losses(truth + CHAMPION_NOISE * generator.standard_normal(len(truth)), labels).mean())


def _units(stream: Stream) -> Floats:
    """Each event of a step is of another user."""
    return np.clip(stream.step() - MARGIN, -CLIP, CLIP)


def _played(events: int, noise: Noise) -> Evidence:
    found, stream = Evidence((STREAMS,)), Stream(np.random.default_rng(5), noise)
    for _ in range(events // STEP):
        found.add(_units(stream), STEP)
    return found


def _alarms(stream: Stream) -> int:
    found = Evidence((STREAMS,))
    for _ in range(EVENTS // STEP):
        found.add(_units(stream), STEP)
    return int((found.greatest >= 1 / ALPHA).sum())


def _delays(found: Evidence, stream: Stream) -> Floats:
    """Events to the alarm of each stream; one that does not come in time counts as the whole time."""
    found.greatest[:] = 0
    delays = np.full(STREAMS, float(PATIENCE))
    for step in range(1, PATIENCE // STEP + 1):
        found.add(_units(stream), STEP)
        delays = np.where(found.greatest >= 1 / ALPHA, np.minimum(delays, step * STEP), delays)
    return delays


def _oracle(stream: Stream) -> Floats:
    """What one bet takes whose share is the best for this very stream."""
    sample = np.concatenate([_units(Stream(np.random.default_rng(6), stream.noise)).ravel() for _ in range(20)])
    best = optimize.minimize_scalar(lambda bet: -np.log1p(bet * sample).mean(), bounds=(0, 0.49), method="bounded").x
    steps = [np.log1p(best * _units(stream)).sum(axis=1) for _ in range(PATIENCE // STEP)]
    reached = np.cumsum(steps, axis=0) >= np.log(1 / ALPHA)
    return np.where(reached.any(axis=0), (reached.argmax(axis=0) + 1.0) * STEP, PATIENCE)


def _peeking(noise: Noise) -> int:
    """Streams that a test made for one look calls worse, looked at after every step."""
    stream, alarmed = Stream(np.random.default_rng(7), noise), np.zeros(STREAMS, dtype=np.bool_)
    total, squares = np.zeros(STREAMS), np.zeros(STREAMS)
    for step in range(1, 20_000 // STEP + 1):
        units, n = _units(stream), step * STEP
        total, squares = total + units.sum(axis=1), squares + np.square(units).sum(axis=1)
        alarmed |= total > stats.norm.ppf(1 - ALPHA) * np.sqrt(squares - total**2 / n)
    return int(alarmed.sum())
