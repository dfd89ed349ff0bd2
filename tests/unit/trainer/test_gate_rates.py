"""How often the gate is wrong, in small; the whole numbers are those of ``make bench NAME=gate``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
from benchmarks.candidates import POISONS, Damage, crowd, twin, verdict, worse_by

from viridian_trainer.gate.evaluate import BASELINE, CANDIDATE, CHAMPION, REFERENCE, Judged, judge
from viridian_trainer.gate.statistics import Difference, log_losses, loss_difference
from viridian_trainer.spec import Gate

NUMBER = 60
EVENTS, USERS, MARGIN = 5000, 750, 0.02


def judged(damage: Damage, events: int = EVENTS, users: int = USERS) -> Iterator[Judged]:
    gate = Gate(margin=MARGIN, min_events=events)
    return (verdict(seed, events, users, gate, damage) for seed in range(NUMBER))


def outcomes(verdicts: Iterator[Judged]) -> Counter[str]:
    return Counter(str(each.verdict.outcome) for each in verdicts)


def test_equal_twins_pass_and_their_intervals_cover() -> None:
    twins = list(judged(twin))
    found = outcomes(iter(twins))
    assert found["Pass"] >= 0.8 * NUMBER
    assert found["Reject"] <= 0.05 * NUMBER
    differences = [each.deciding.difference for each in twins]
    assert sum(each.low <= 0 <= each.high for each in differences) >= 0.88 * NUMBER


def test_what_is_worse_by_two_margins_does_not_pass() -> None:
    assert outcomes(judged(worse_by(2 * MARGIN, USERS)))["Pass"] == 0


@pytest.mark.parametrize("poison", POISONS)
def test_poison_does_not_pass(poison: Damage) -> None:
    assert outcomes(judged(poison, 500, 300))["Pass"] == 0


def test_the_detectable_difference_is_found_four_times_of_five() -> None:
    def difference(seed: int, better: float) -> Difference:
        part = crowd(USERS).window(np.random.default_rng(seed), EVENTS)
        champion, candidate = (log_losses(logits, part.labels) for logits in part.twins())
        return loss_difference(champion + better, candidate, part.users, 0.95, seed)

    size = float(np.mean([difference(seed, 0.0).minimum_detectable for seed in range(20)]))
    found = sum(difference(seed, size).low > 0 for seed in range(2 * NUMBER))
    assert 0.7 * 2 * NUMBER <= found <= 0.9 * 2 * NUMBER


def test_a_loss_that_creeps_is_stopped_by_the_reference() -> None:
    part = crowd(USERS).window(np.random.default_rng(5), 20_000)
    reference, _ = part.twins()
    steps = [worse_by(0.7 * MARGIN, USERS)(part, reference)]
    steps.append(worse_by(0.7 * MARGIN, USERS)(part, steps[0]))
    logits = {CANDIDATE: steps[1], CHAMPION: steps[0], BASELINE: np.zeros(len(reference))}
    gate = Gate(margin=MARGIN, min_events=500)
    assert judge(gate, "sha256:00000001", part.holdout, logits, {}, {}).verdict.reason == "NonInferior"
    crept = judge(gate, "sha256:00000001", part.holdout, {**logits, REFERENCE: reference}, {}, {})
    assert crept.verdict.reason == "WorseThanReference"


def test_the_error_probability_is_split_over_the_looks() -> None:
    part = crowd(USERS).window(np.random.default_rng(6), EVENTS)
    champion, candidate = part.twins()
    logits = {CANDIDATE: candidate, CHAMPION: champion, BASELINE: 0 * champion}

    def interval(**gate: float) -> tuple[float, float]:
        found = judge(Gate.model_validate(gate), "sha256:00000001", part.holdout, logits, {}, {}).deciding.difference
        return found.low, found.high

    assert interval(looks=5) == pytest.approx(interval(confidence=0.99))
    assert interval(looks=5)[0] < interval()[0] < interval()[1] < interval(looks=5)[1]
