"""Answers of servers on loopback: identity, golden requests, probes, Prometheus."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web
from answering import REQUEST, Server, hang, subject

from viridian_operator.api.health import Expect, HealthCheck, Probe, Prometheus
from viridian_operator.api.status import CheckResult
from viridian_operator.decide.observation import PodTrouble
from viridian_operator.observe.checks.limits import Limits, Previous, judge
from viridian_operator.observe.checks.prometheus import filled
from viridian_operator.observe.checks.run import ask, look
from viridian_operator.observe.checks.subject import Subject
from viridian_operator.observe.golden import Golden, ask_golden, differing, golden_of
from viridian_operator.observe.identity import ask_identity, ask_service
from viridian_operator.observe.prober import Prober

IDENTITY = {"version": "1", "digest": "sha256:1", "ready": True, "retired": True, "phase": "Ready", "error": None}


async def run_check(check: HealthCheck, looked_at: Subject, prober: Prober) -> CheckResult:
    return look(check, looked_at) or await ask(check, looked_at, prober)


async def test_identity_is_what_the_pod_says_or_nothing(server: Server, prober: Prober) -> None:
    path = "/viridian/v1/identity"
    server.replies[path] = (200, IDENTITY)
    found = await ask_identity(prober, server.url)
    assert found is not None
    assert (found.version, found.digest, found.ready, found.retired) == ("1", "sha256:1", True, True)
    for reply in ((500, IDENTITY), (200, [1]), (200, {"version": 1, "digest": "sha256:1"})):
        server.replies[path] = reply
        assert await ask_identity(prober, server.url) is None
    assert await ask_identity(prober, "http://127.0.0.1:1") is None


async def test_residents_are_what_a_pod_has_loaded_and_none_where_its_image_does_not_know(
    server: Server, prober: Prober
) -> None:
    mismatch = {"reason": "DigestMismatch", "message": "another file"}
    listed = [
        {"role": "Current", "version": "1", "digest": "sha256:1", "phase": "Ready", "error": None},
        {"role": "Staged", "version": "2", "digest": "sha256:2", "phase": "Failed", "error": mismatch},
        {"role": "Previous"},
        {"role": "Unheard", "digest": "sha256:3"},
        "nonsense",
    ]
    path = "/viridian/v1/identity"
    for residents, known in ((listed, True), (None, False)):
        server.replies[path] = (200, IDENTITY | {"residents": residents})
        found = await ask_identity(prober, server.url)
        assert found and (found.residents is not None) is known
    server.replies[path] = (200, IDENTITY | {"residents": listed})
    found = await ask_identity(prober, server.url)
    assert found and found.residents and len(found.residents) == 2
    staged = found.staged
    assert staged and staged.failed and not staged.ready and staged.trouble is PodTrouble.DIGEST_MISMATCH
    assert found.resident("sha256:1") == found.residents[0]
    assert found.resident("sha256:3") is None


async def test_a_service_is_asked_over_connections_of_their_own(server: Server, prober: Prober) -> None:
    path = "/viridian/v1/identity"
    server.replies[path] = (200, IDENTITY)
    assert await ask_service(prober, server.url) == ("sha256:1",) * 5
    assert len(server.connections) == 5
    answers = iter([(200, IDENTITY), (503, {})] * 3)

    async def flaky(_request: web.Request) -> web.StreamResponse:
        status, body = next(answers)
        return web.json_response(body, status=status)

    server.replies[path] = flaky
    assert await ask_service(prober, server.url) is None


async def test_a_hanging_server_costs_its_timeout_only(server: Server, prober: Prober) -> None:
    server.replies["/slow"] = hang
    answer = await prober.ask(f"{server.url}/slow", seconds=0.1)
    assert "within 0.1 s" in answer.problem


async def test_golden_requests(server: Server, prober: Prober) -> None:
    golden = Golden(1e-4, (REQUEST,))
    path = "/v2/models/ctr/infer"

    async def ask(status: int, *data: Any) -> str | None:
        server.replies[path] = (status, {"outputs": [{"name": "probability", "data": list(data)}]})
        return await ask_golden(prober, server.url, "ctr", golden)

    assert await ask(200, 0.25, 0.50001) == ""
    assert "user" in server.asked[-1][1]
    assert "[1] is 0.6 instead of 0.5" in (await ask(200, 0.25, 0.6) or "")
    assert "1 values instead of 2" in (await ask(200, 0.25) or "")
    assert "400" in (await ask(400) or "")
    assert await ask(503) is None
    assert await ask_golden(prober, "http://127.0.0.1:1", "ctr", golden) is None
    assert await ask_golden(prober, "http://127.0.0.1:1", "ctr", Golden(1e-4, ())) == ""


@pytest.mark.parametrize(
    ("wanted", "given", "right"),
    [
        ([[1.0], [2.0]], [1.0, 2.0], True),
        ([float("nan")], [float("nan")], False),
        ([1.0], ["1.0"], False),
        ([1.0], [None], False),
        (["a"], ["a"], True),
        ([True], [1], True),
        ([1000.0], [1000.05], True),
    ],
)
def test_outputs_are_compared_by_value(wanted: list[Any], given: list[Any], right: bool) -> None:
    found = differing([{"name": "y", "data": wanted}], [{"name": "y", "data": given}], 1e-4)
    assert (found == "") is right


def test_golden_files() -> None:
    assert golden_of('{"requests": []}') == Golden(1e-4, ())
    for text in ("", "[]", '{"requests": [1]}', '{"tolerance": 1}'):
        assert golden_of(text) is None


async def test_pod_checks(server: Server, prober: Prober) -> None:
    server.replies["/score"] = (200, {"ok": True})
    server.replies["/v2/models/ctr/infer"] = (200, {"outputs": REQUEST["outputs"]})
    probe = Probe(path="/score", body={"x": 1}, expect=Expect(body_contains="true"))
    checks = [
        HealthCheck(name="ready", ready_percent=100),
        HealthCheck(name="restarts", max_restarts=0),
        HealthCheck(name="golden", golden=True),
        HealthCheck(name="probe", probe=probe),
    ]
    golden = Golden(1e-4, (REQUEST,))

    async def outcomes(looked_at: Subject) -> list[str]:
        return [(await run_check(check, looked_at, prober)).outcome for check in checks]

    assert await outcomes(subject(server, golden=golden)) == ["Passed", "Failed", "Passed", "Passed"]
    assert await outcomes(subject(server, ready=0)) == ["Failed", "Failed", "Errored", "Inconclusive"]
    server.replies["/score"] = (200, {"ok": False})
    server.replies["/v2/models/ctr/infer"] = (200, {"outputs": []})
    assert (await outcomes(subject(server, golden=golden)))[2:] == ["Failed", "Failed"]
    silent = subject(server, golden=golden)
    silent = Subject(**{**vars(silent), "addresses": dict.fromkeys(silent.addresses, "http://127.0.0.1:1")})
    assert (await outcomes(silent))[2:] == ["Errored", "Errored"]


@pytest.mark.parametrize(
    ("values", "limits", "outcome", "value"),
    [
        ([0.005], {"max": 0.01}, "Passed", 0.005),
        ([0.005, 0.02], {"max": 0.01}, "Failed", 0.02),
        ([5.0], {"min": 10}, "Failed", 5.0),
        ([float("inf")], {"max": 1}, "Failed", None),
    ],
)
def test_limits(values: list[float], limits: dict[str, float], outcome: str, value: float | None) -> None:
    found = judge("errors", values, Limits(**limits), Previous())
    assert (found.outcome, found.value) == (outcome, value)


async def test_prometheus(server: Server, prober: Prober) -> None:
    path = "/api/v1/query"
    series = [{"metric": {}, "value": [1, "0.5"]}]
    vector = {"status": "success", "data": {"resultType": "vector", "result": series}}
    wanted = Prometheus(url=server.url, query='e{v="{{version}}",r="{{ revision }}"}', max=1)

    async def outcome(**more: Any) -> str:
        check = HealthCheck(name="errors", prometheus=wanted.but(**more))
        return (await run_check(check, subject(server), prober)).outcome

    server.replies[path] = (200, vector)
    assert await outcome() == "Passed"
    assert server.asked[-1][1] == {"query": 'e{v="1",r="hash1"}'}
    assert await outcome(samples_query="n", min_samples=10.0) == "Inconclusive"
    assert await outcome(samples_query="n", min_samples=0.1) == "Passed"
    assert await outcome(max=None) == "Errored"
    server.replies[path] = (200, {"status": "success", "data": {"resultType": "scalar", "result": [1, "2"]}})
    assert await outcome() == "Failed"
    server.replies[path] = (200, {"status": "success", "data": {"resultType": "vector", "result": []}})
    assert await outcome() == "Inconclusive"
    server.replies[path] = (400, {"status": "error", "error": "bad query"})
    assert await outcome() == "Errored"
    server.replies[path] = (200, {"status": "success", "data": {"resultType": "string", "result": [1, "x"]}})
    assert await outcome() == "Errored"
    assert await outcome(url="http://127.0.0.1:1") == "Errored"


def test_queries_are_filled_in(server: Server) -> None:
    assert filled("{{namespace}}/{{name}}", subject(server)) == "recsys/ctr"
