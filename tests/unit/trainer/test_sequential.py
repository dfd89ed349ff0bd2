"""The test that stops online training: sound at any time, and quick where something is wrong."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from viridian_trainer.online.sequential import BETS, CAPITAL, CLIP, START_EVERY, Evidence, SequentialTest, units

ALPHA, MARGIN, STEP = 0.01, 0.002, 50


def stream(seed: int, mean: float, deviation: float, streams: int, steps: int) -> Evidence:
    generator, found = np.random.default_rng(seed), Evidence((streams,))
    for _ in range(steps):
        differences = mean + deviation * generator.standard_normal((streams, STEP))
        found.add(np.clip(differences - MARGIN, -CLIP, CLIP), STEP)
    return found


def test_a_model_at_the_margin_is_not_stopped_more_often_than_alpha() -> None:
    found = stream(1, MARGIN, 0.2, 2000, 200)
    alarms = int((found.greatest >= 1 / ALPHA).sum())
    assert alarms <= 2000 * ALPHA + 3 * np.sqrt(2000 * ALPHA)


@pytest.mark.parametrize(("mean", "deviation", "steps"), [(0.025, 0.22, 20), (0.1, 0.45, 8), (1.0, 1.0, 1)])
def test_a_worse_model_is_stopped_in_the_median(mean: float, deviation: float, steps: int) -> None:
    found = stream(2, mean, deviation, 200, steps)
    assert np.median(found.greatest) >= 1 / ALPHA


def test_what_gets_worse_late_is_stopped_without_winning_back_what_was_lost() -> None:
    found = stream(3, -0.05, 0.2, 1, 400)
    generator = np.random.default_rng(4)
    for _ in range(20):
        found.add(np.clip(0.1 + 0.45 * generator.standard_normal((1, STEP)) - MARGIN, -CLIP, CLIP), STEP)
    assert found.greatest[0] >= 1 / ALPHA


@given(st.lists(st.integers(1, 400), min_size=1, max_size=60))
def test_without_gain_or_loss_no_capital_appears_or_vanishes(steps: list[int]) -> None:
    found = Evidence()
    for events in steps:
        found.add(np.zeros(1), events)
    assert float(found.greatest) == pytest.approx(1.0)
    assert found.starts == (sum(steps) - steps[-1]) // START_EVERY + 1


@given(st.lists(st.floats(-CLIP, CLIP), min_size=1, max_size=200))
def test_nobody_is_ruined_by_a_clipped_loss(losses: list[float]) -> None:
    found = Evidence()
    found.add(np.array(losses), len(losses))
    assert (found.capital > 0).all()
    assert BETS.max() * CLIP < 1
    assert CAPITAL.sum() == pytest.approx(1.0)


def test_a_user_is_one_observation_in_a_step_and_what_is_not_finite_counts_as_worst() -> None:
    found = units(np.array([0.5, 0.5, -0.1, np.nan, 40.0]), np.array([7, 7, 8, 9, 10]), 0.1)
    assert found.tolist() == pytest.approx([0.8, -0.2, CLIP, CLIP])


def test_the_verdict_stays_and_the_state_goes_through_json() -> None:
    test = SequentialTest(ALPHA, MARGIN)
    assert (test.verdict, test.bound) == ("Holds", 1.0)
    generator = np.random.default_rng(5)
    for _ in range(30):
        test.add(0.3 + 0.3 * generator.standard_normal(20), generator.integers(0, 10**9, 20))
    again = SequentialTest(ALPHA, MARGIN).load(json.loads(json.dumps(test.wire())))
    for both in (test, again):
        assert both.verdict == "Worse"
        both.add(np.full(5000, -1.0), np.arange(5000))
        assert both.verdict == "Worse"
    assert again.wire() == test.wire()
    assert test.events == 30 * 20 + 5000
