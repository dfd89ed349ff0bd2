"""A figure of the new revision against its limits, and against the same figure of the previous one."""

from __future__ import annotations

import math
from dataclasses import dataclass

from viridian_operator.api.status import CheckResult
from viridian_operator.observe.checks.subject import Outcome, result


@dataclass(frozen=True)
class Previous:
    """The figure of the previous revision.

    Attributes
    ----------
    value
        None if it could not be told, ``problem`` says why.
    exists
        False for the first version, which has nothing to be compared with.
    """

    value: float | None = None
    problem: str = ""
    exists: bool = True


@dataclass(frozen=True)
class Limits:
    """What a figure has to keep to; ``unit`` is for people."""

    max: float | None = None
    min: float | None = None
    max_ratio: float | None = None
    unit: str = ""


def judge(
    name: str, values: list[float], limits: Limits, previous: Previous, *, samples: float | None = None
) -> CheckResult:
    """All ``values`` (finite or infinite, at least one) must keep to ``limits``.

    A figure that is out of its limits fails whatever can be told of the previous revision.
    """
    value = max(values) if limits.max is not None or limits.max_ratio is not None else min(values)
    outcome, message = _absolute(values, limits)
    if outcome is Outcome.PASSED and limits.max_ratio is not None:
        outcome, message = _relative(value, limits, previous)
    if limits.min is not None and min(values) < limits.min and outcome is Outcome.FAILED:
        value = min(values)
    found = result(name, outcome, message, finite(value))
    return found.but(previous_value=finite(previous.value), samples=samples)


def _absolute(values: list[float], limits: Limits) -> tuple[Outcome, str]:
    unit = limits.unit
    if limits.max is not None and max(values) > limits.max:
        return Outcome.FAILED, f"{max(values):g}{unit} is above {limits.max:g}{unit}"
    if limits.min is not None and min(values) < limits.min:
        return Outcome.FAILED, f"{min(values):g}{unit} is below {limits.min:g}{unit}"
    return Outcome.PASSED, f"{max(values) if limits.max is not None else min(values):g}{unit} is within the limits"


def _relative(value: float, limits: Limits, previous: Previous) -> tuple[Outcome, str]:
    """No ratio can be told to nothing, to zero or to infinity: that is no failure, and no pass either."""
    unit, most = limits.unit, limits.max_ratio or 0.0
    if not previous.exists:
        return Outcome.PASSED, f"{value:g}{unit}; there is no previous revision to compare with"
    if previous.value is None:
        return Outcome.INCONCLUSIVE, f"nothing to compare {value:g}{unit} with: {previous.problem}"
    text = f"{value:g}{unit} against {previous.value:g}{unit} of the previous revision"
    if previous.value <= 0 or not math.isfinite(previous.value):
        same = previous.value == value == 0
        return (Outcome.PASSED, text) if same else (Outcome.INCONCLUSIVE, f"{text} makes no ratio")
    if value > most * previous.value:
        return Outcome.FAILED, f"{text} is more than {most:g} times as much"
    return Outcome.PASSED, text


def finite(value: float | None) -> float | None:
    """Status holds JSON, which knows no infinity."""
    return value if value is not None and math.isfinite(value) else None
