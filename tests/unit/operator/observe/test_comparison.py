"""Latency, and what is compared with the previous revision."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web
from answering import REQUEST, Server, hang, previous, subject
from hypothesis import given
from hypothesis import strategies as st

from viridian_operator.api.health import HealthCheck, Latency, Prometheus
from viridian_operator.api.status import CheckResult
from viridian_operator.observe.checks.latency import quantile
from viridian_operator.observe.checks.limits import Limits, Previous, judge
from viridian_operator.observe.checks.run import ask
from viridian_operator.observe.checks.subject import Subject
from viridian_operator.observe.golden import Golden
from viridian_operator.observe.prober import Prober

GOLDEN = Golden(1e-4, (REQUEST,))


@pytest.mark.parametrize(
    ("value", "before", "outcome"),
    [
        (1.2, Previous(1.0), "Passed"),
        (1.3, Previous(1.0), "Failed"),
        (float("inf"), Previous(1.0), "Failed"),
        (0.0, Previous(0.0), "Passed"),
        (0.1, Previous(0.0), "Inconclusive"),
        (-3.0, Previous(-1.0), "Inconclusive"),
        (1.0, Previous(problem="the query returned no data"), "Inconclusive"),
        (1.0, Previous(exists=False), "Passed"),
        (1.0, Previous(float("inf")), "Inconclusive"),
        (3.1, Previous(9.0), "Failed"),
        (3.1, Previous(exists=False), "Failed"),
    ],
)
def test_ratios(value: float, before: Previous, outcome: str) -> None:
    assert judge("x", [value], Limits(max=3.0, max_ratio=1.2), before).outcome == outcome


@given(st.lists(st.floats(0, 1e4), min_size=1, max_size=50), st.floats(0.01, 1))
def test_a_quantile_is_a_measured_time_that_so_many_do_not_exceed(times: list[float], share: float) -> None:
    found = quantile(tuple(times), share)
    assert found in times
    assert sum(each <= found for each in times) >= share * len(times) - 1e-9
    assert quantile(tuple(times), 1.0) == max(times)


class Sides:
    """A new and an old revision on servers that take their time."""

    def __init__(self, server: Server, prober: Prober) -> None:
        self.server, self.prober = server, prober

    def answer(self, path: str, seconds: float, status: int = 200) -> None:
        async def reply(_request: web.Request) -> web.StreamResponse:
            await asyncio.sleep(seconds)
            return web.json_response({}, status=status)

        self.server.replies[path] = reply

    def about(self, *, first: bool = False) -> Subject:
        new = subject(self.server, golden=GOLDEN)
        if first:
            return new
        addresses = dict(new.addresses) | {"b0": f"{self.server.url}/old"}
        return replace(new, addresses=addresses, previous=previous(self.server, golden=GOLDEN))

    async def check(self, *, first: bool = False, **wanted: Any) -> CheckResult:
        fields = {"path": "/score", "requests": 4, "minSamples": 4, "quantile": 0.5} | wanted
        check = HealthCheck(name="latency", latency=Latency.model_validate(fields))
        return await ask(check, self.about(first=first), self.prober)


@pytest.fixture
def sides(server: Server, prober: Prober) -> Sides:
    found = Sides(server, prober)
    found.answer("/score", 0.05)
    found.answer("/old/score", 0.05)
    return found


async def test_latency_is_measured_on_every_pod_of_both(sides: Sides) -> None:
    found = await sides.check(max=1000, maxRatio=20)
    assert (found.outcome, found.samples) == ("Passed", 8.0)
    assert found.value is not None
    assert found.previous_value is not None
    assert 50 <= found.value <= 500
    assert found.previous_value >= 50
    assert [path for path, _ in sides.server.asked].count("/old/score") == 4


async def test_slower_than_before_or_than_allowed_fails(sides: Sides) -> None:
    assert (await sides.check(max=20)).outcome == "Failed"
    sides.answer("/old/score", 0.0)
    sides.answer("/score", 0.3)
    assert (await sides.check(maxRatio=1.5)).outcome == "Failed"
    assert (await sides.check(maxRatio=1.5, first=True)).outcome == "Passed"


async def test_latency_of_golden_requests(sides: Sides) -> None:
    sides.answer("/v2/models/ctr/infer", 0.0)
    sides.answer("/old/v2/models/ctr/infer", 0.0)
    assert (await sides.check(path=None, max=1000, maxRatio=1000)).outcome == "Passed"
    assert "user" in next(text for path, text in sides.server.asked if path.endswith("infer"))


async def test_what_does_not_answer_has_no_latency(sides: Sides) -> None:
    sides.answer("/score", 0.0, status=500)
    found = await sides.check(max=1000)
    assert (found.outcome, found.value) == ("Errored", None)
    assert "status 500" in found.message


async def test_no_answer_in_time_is_slower_than_any_limit(sides: Sides) -> None:
    sides.server.replies["/score"] = hang
    found = await sides.check(max=1000, requests=1, minSamples=1)
    assert (found.outcome, found.value, found.samples) == ("Failed", None, 2.0)


async def test_too_few_answers_are_inconclusive(sides: Sides) -> None:
    assert (await sides.check(max=1000, minSamples=9)).outcome == "Inconclusive"
    assert (await sides.check(max=1000, maxRatio=9, minSamples=5)).message.startswith("nothing to compare")
    sides.answer("/old/score", 0.0, status=503)
    found = await sides.check(max=1000, maxRatio=9)
    assert (found.outcome, found.previous_value) == ("Inconclusive", None)


Answers = dict[str, float | None]


@pytest.fixture
def metrics(server: Server) -> Callable[[Answers], None]:
    """Prometheus with a value per query."""

    def serve(answers: Answers) -> None:
        async def reply(request: web.Request) -> web.StreamResponse:
            value = answers.get(request.query["query"])
            found = [] if value is None else [{"metric": {}, "value": [1, str(value)]}]
            return web.json_response({"status": "success", "data": {"resultType": "vector", "result": found}})

        server.replies["/api/v1/query"] = reply

    return serve


@pytest.fixture
def compare(server: Server, prober: Prober) -> Callable[..., Awaitable[CheckResult]]:
    async def run(*, first: bool = False, **wanted: Any) -> CheckResult:
        fields = {"url": server.url, "query": "e{{revision}}", "maxRatio": 1.5} | wanted
        check = HealthCheck(name="errors", prometheus=Prometheus.model_validate(fields))
        about = replace(subject(server), since=datetime(2026, 1, 1, tzinfo=UTC))
        return await ask(check, about if first else replace(about, previous=previous(server)), prober)

    return run


@pytest.mark.parametrize(
    ("answers", "outcome"),
    [
        ({"ehash1": 3.0, "ehash0": 2.0}, "Passed"),
        ({"ehash1": 3.1, "ehash0": 2.0}, "Failed"),
        ({"ehash1": 3.1}, "Inconclusive"),
        ({"ehash0": 2.0}, "Inconclusive"),
        ({"ehash1": 1.0, "ehash0": float("nan")}, "Inconclusive"),
    ],
)
async def test_a_query_for_both_revisions(metrics: Any, compare: Any, answers: Answers, outcome: str) -> None:
    metrics(answers)
    assert (await compare()).outcome == outcome


async def test_values_and_samples_are_told(metrics: Any, compare: Any) -> None:
    metrics({"ehash1": 3.0, "ehash0": 2.0, "nhash1": 50, "nhash0": 9})
    found = await compare(samplesQuery="n{{revision}}", minSamples=9)
    assert (found.outcome, found.value, found.previous_value, found.samples) == ("Passed", 3.0, 2.0, 50.0)
    found = await compare(samplesQuery="n{{revision}}", minSamples=10)
    assert (found.outcome, found.samples) == ("Inconclusive", 50.0)
    assert "only 9 of 10 samples for the previous revision" in found.message


async def test_the_first_version_has_nothing_to_be_compared_with(metrics: Any, compare: Any) -> None:
    metrics({"ehash1": 3.0})
    assert (await compare(first=True)).outcome == "Passed"
    assert (await compare(first=True, query="a{{revision}}/b{{ previousRevision }}", max=1)).outcome == "Inconclusive"


async def test_the_previous_revision_is_asked_before_it_lost_its_traffic(
    server: Server, metrics: Any, compare: Any
) -> None:
    metrics({"ehash1": 3.0, "ehash0": 2.0})
    await compare()
    await compare(baseline="BeforeSwitch")
    times = [query.get("time") for _, query in server.asked if query["query"] == "ehash0"]
    assert times == [None, "1767225600.000"]
