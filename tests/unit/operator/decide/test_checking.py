"""Accounting of health checks: failure, error and inconclusive differ, and only seen passes count."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulation import START

from viridian_operator.api.rollout import Rollout
from viridian_operator.api.status import Bake, CheckResult
from viridian_operator.decide.checking import account, beyond_limit, blind, due_at, holds, is_due

READY = {"name": "ready", "readyPercent": 100}
ERRORS = {"name": "errors", "interval": "5s", "prometheus": {"url": "http://p", "query": "q", "max": 1}}
LETTERS = {"P": "Passed", "F": "Failed", "E": "Errored", "I": "Inconclusive"}


def rollout(*checks: dict[str, Any], **bake: Any) -> Rollout:
    fields = {"duration": "30s", "interval": "10s", "failureLimit": 1} | bake
    return Rollout.model_validate({"bake": fields, "healthChecks": list(checks)})


def fresh() -> Bake:
    return Bake(started_at=START, deadline=START + timedelta(hours=1))


def seen(name: str, letter: str, second: float) -> CheckResult:
    return CheckResult(name=name, outcome=LETTERS[letter], checked_at=START + timedelta(seconds=second))


def after(spec: Rollout, **letters: str) -> Bake:
    """A bake in which each check gave one result per interval, such as ``PPFE``."""
    bake = fresh()
    for name, outcomes in letters.items():
        interval = 5 if name == "errors" else 10
        for n, letter in enumerate(outcomes, start=1):
            now = START + timedelta(seconds=n * interval)
            bake = account(spec, bake, [seen(name, letter, n * interval)], now)
    return bake


@pytest.mark.parametrize(
    ("ready", "errors", "seconds", "over"),
    [
        ("PPP", "PPPPPP", 30, True),
        ("PPP", "PPPPP", 25, False),  # the slower one decides
        ("PPP", "", 0, False),  # a check without any result
        ("PPPP", "PPPFPPP", 30, True),
        ("PPPP", "PPPPPPPF", 35, False),  # the last word is a failure
        ("PPPP", "PPPPPPPI", 35, False),
        ("PPPP", "PPPPPPPE", 35, False),
        ("EEEE", "PPPPPPPP", 0, False),
        ("IIII", "PPPPPPPP", 0, False),
    ],
)
def test_a_bake_has_passed_when_every_check_has(ready: str, errors: str, seconds: float, over: bool) -> None:
    spec = rollout(READY, ERRORS)
    bake = after(spec, ready=ready, errors=errors)
    assert (bake.passed_seconds, holds(spec, bake)) == (seconds, over)


@pytest.mark.parametrize(
    ("limits", "outcomes", "failed", "unseen"),
    [
        ({}, "FP", False, False),
        ({}, "FPF", True, False),
        ({"failureLimit": 0}, "F", True, False),
        ({"failureLimit": 5}, "FFF", False, False),
        ({}, "EEEEEEEE", False, False),  # without a limit only the deadline ends it
        ({"consecutiveErrors": 2}, "EE", False, False),
        ({"consecutiveErrors": 2}, "EEE", False, True),
        ({"consecutiveErrors": 2}, "EEPEE", False, False),
        ({"consecutiveErrors": 2}, "EEIE", False, False),
        ({"consecutiveErrors": 0}, "E", False, True),
        ({"consecutiveErrors": 0}, "IIII", False, False),
    ],
)
def test_limits_of_failures_and_errors(limits: dict[str, int], outcomes: str, failed: bool, unseen: bool) -> None:
    spec = rollout(READY, ERRORS | limits)
    bake = after(spec, errors=outcomes)
    assert (bool(beyond_limit(spec, bake)), bool(blind(spec, bake))) == (failed, unseen)


def test_limits_of_the_bake_are_those_of_a_check_without_its_own() -> None:
    spec = rollout(READY, failureLimit=0, consecutiveErrors=1)
    assert beyond_limit(spec, after(spec, ready="F")) == "check ready failed 1 times: "
    assert blind(spec, after(spec, ready="EE")) == "check ready could not tell 2 times in a row: "


@given(st.lists(st.tuples(st.sampled_from("PFEI"), st.booleans(), st.integers(1, 60)), max_size=30))
def test_every_result_counts_once_and_no_time_is_made_up(history: list[tuple[str, bool, int]]) -> None:
    """Results may be handed over twice, and late; time that nobody watched is not time that passed."""
    spec, bake, second = rollout(READY), fresh(), 0.0
    for letter, twice, pause in history:
        second = max(second + pause, (due_at(spec, spec.health_checks[0], bake) - START).total_seconds())
        now = START + timedelta(seconds=second)
        assert is_due(spec, spec.health_checks[0], bake, now)
        for _ in range(1 + twice):
            bake = account(spec, bake, [seen("ready", letter, second)], now)
        assert not is_due(spec, spec.health_checks[0], bake, now)
    if not history:
        return
    (result,) = bake.results
    counts, letters = result.counts, [letter for letter, _, _ in history]
    assert [counts.passed, counts.failed, counts.errored, counts.inconclusive] == [letters.count(x) for x in "PFEI"]
    assert bake.passed_seconds == 10 * counts.passed <= second
    assert not holds(spec, bake) or (letters[-1] == "P" and letters.count("P") >= 3)
    assert counts.consecutive_errors == len(letters) - len("".join(letters).rstrip("E"))


def test_results_of_checks_that_left_the_spec_go() -> None:
    bake = after(rollout(READY, ERRORS), ready="P", errors="FF")
    now = START + timedelta(seconds=20)
    left = account(rollout(READY), bake, [seen("errors", "F", 20), seen("ready", "P", 20)], now)
    assert [result.name for result in left.results] == ["ready"]


def test_nothing_changes_without_results() -> None:
    bake = after(rollout(READY), ready="P")
    assert account(rollout(READY), bake, (), START + timedelta(hours=1)) is bake


def test_without_checks_an_endpoint_has_to_be_seen() -> None:
    spec = rollout()
    assert not holds(spec, fresh())
    assert holds(spec, after(spec, **{"any-endpoint": "PPP"}))
