"""``prometheus``: an instant query with limits on its value."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from viridian_operator.api.rollout import Prometheus
from viridian_operator.api.status import CheckResult
from viridian_operator.observe.checks.subject import Outcome, Subject, result
from viridian_operator.observe.prober import Answer, Prober

TIMEOUT = 5.0


class QueryFailed(Exception):
    """Prometheus did not answer the query."""


async def check_prometheus(name: str, wanted: Prometheus, subject: Subject, prober: Prober) -> CheckResult:
    """No data and too few samples are inconclusive, a query that fails is an error; neither ever passes."""
    if wanted.max is None and wanted.min is None:
        return result(name, Outcome.ERRORED, "the check needs max or min")
    if wanted.min_samples is not None and wanted.samples_query is None:
        return result(name, Outcome.ERRORED, "minSamples needs samplesQuery")
    try:
        if problem := await _too_few(wanted, subject, prober):
            return result(name, Outcome.INCONCLUSIVE, problem)
        values = await _query(prober, wanted.url, filled(wanted.query, subject))
    except QueryFailed as error:
        return result(name, Outcome.ERRORED, str(error))
    return judge(name, values, wanted)


def judge(name: str, values: list[float], wanted: Prometheus) -> CheckResult:
    """Every series must lie within the limits."""
    if not values:
        return result(name, Outcome.INCONCLUSIVE, "the query returned no data")
    if any(math.isnan(value) for value in values):
        return result(name, Outcome.INCONCLUSIVE, "the query returned NaN")
    if wanted.max is not None and max(values) > wanted.max:
        return result(name, Outcome.FAILED, f"{max(values):g} is above {wanted.max:g}", _finite(max(values)))
    if wanted.min is not None and min(values) < wanted.min:
        return result(name, Outcome.FAILED, f"{min(values):g} is below {wanted.min:g}", _finite(min(values)))
    value = max(values) if wanted.max is not None else min(values)
    return result(name, Outcome.PASSED, f"{value:g} is within the limits", _finite(value))


def filled(query: str, subject: Subject) -> str:
    """``query`` with its variables replaced."""
    values = {
        "namespace": subject.namespace,
        "name": subject.name,
        "version": subject.revision.version,
        "revision": subject.revision.hash,
    }
    for name, value in values.items():
        query = query.replace("{{" + name + "}}", value).replace("{{ " + name + " }}", value)
    return query


async def _too_few(wanted: Prometheus, subject: Subject, prober: Prober) -> str:
    if wanted.min_samples is None or wanted.samples_query is None:
        return ""
    values = await _query(prober, wanted.url, filled(wanted.samples_query, subject))
    samples = sum(value for value in values if not math.isnan(value))
    if samples >= wanted.min_samples:
        return ""
    return f"only {samples:g} of {wanted.min_samples:g} samples"


async def _query(prober: Prober, url: str, query: str) -> list[float]:
    answer = await prober.ask(f"{url.rstrip('/')}/api/v1/query", query={"query": query}, seconds=TIMEOUT)
    return values_of(answer)


def values_of(answer: Answer) -> list[float]:
    """Values of a scalar or vector.

    Raises
    ------
    QueryFailed
        If there was no answer, or one that says that the query failed.
    """
    if answer.problem:
        raise QueryFailed(f"Prometheus did not answer: {answer.problem}")
    body = answer.json()
    if answer.status != 200 or not isinstance(body, Mapping) or body.get("status") != "success":
        said = body.get("error") if isinstance(body, Mapping) else answer.text[:120]
        raise QueryFailed(f"Prometheus answered {answer.status}: {said}")
    try:
        return _numbers(body["data"])
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise QueryFailed("the query must return a scalar or an instant vector") from error


def _numbers(data: Mapping[str, Any]) -> list[float]:
    found = data["result"]
    if data["resultType"] == "scalar":
        return [float(found[1])]
    return [float(series["value"][1]) for series in found]


def _finite(value: float) -> float | None:
    """Status holds JSON, which knows no infinity."""
    return value if math.isfinite(value) else None
