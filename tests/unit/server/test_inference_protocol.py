"""Protocol, identity and admin calls, against the real application in this process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from pod import BODY, INFER, TOKEN, Site
from sample_bundle import make_model, write

from viridian_model.bundle import Bundle, read_bundle
from viridian_model.inference import infer
from viridian_server.application import make_application
from viridian_server.metrics import Metrics
from viridian_server.revision import read_revision
from viridian_server.settings import read_settings
from viridian_server.snapshot import Snapshot
from viridian_server.state import ServerState

INPUTS = json.loads(BODY)["inputs"]


def snapshot_of(bundle: Bundle, version: str) -> Snapshot:
    event_time = bundle.manifest.event_time
    return Snapshot("ctr", version, bundle.digest, event_time, bundle.manifest, bundle.spec, bundle.load_model())


class Served:
    def __init__(self, client: TestClient[Any, Any], state: ServerState, snapshot: Snapshot) -> None:
        self.client, self.state, self.snapshot = client, state, snapshot

    async def call(self, method: str, path: str, data: object = None, **headers: str) -> tuple[int, Any, Any]:
        async with self.client.request(method, path, data=data, headers=headers) as response:
            body = await response.read()
            is_json = response.content_type == "application/json" and body
            return response.status, response.headers, json.loads(body) if is_json else body.decode()


@pytest.fixture
async def served(site: Site) -> AsyncIterator[Served]:
    """The application before a model is loaded."""
    digest = site.stored()
    settings = read_settings(site.env(VIRIDIAN_MAX_BODY_BYTES="4096"))
    state, metrics = ServerState(read_revision(site.revision), None), Metrics()
    bundle = read_bundle(site.store / digest.removeprefix("sha256:"), digest)
    async with TestClient(TestServer(make_application(state, metrics, settings))) as client:
        yield Served(client, state, snapshot_of(bundle, "3"))


@pytest.fixture
async def ready(served: Served) -> Served:
    """The application with a model."""
    served.state.serve(served.snapshot)
    return served


async def test_nothing_is_ready_before_the_model_is(served: Served) -> None:
    assert (await served.call("GET", "/v2/health/live"))[0] == 200
    for path in ("/v2/health/ready", "/v2/models/ctr", "/v2/models/ctr/ready", "/v2/models/ctr/versions/3/ready"):
        status, headers, body = await served.call("GET", path)
        assert status == 503
        assert "x-model-version" not in headers
        assert "Fetching" in body["error"]
    assert (await served.call("POST", INFER, BODY))[0] == 503
    status, _, identity = await served.call("GET", "/viridian/v1/identity")
    assert status == 200
    assert identity["ready"] is False


@pytest.mark.parametrize("path", [INFER, "/v2/models/ctr/versions/3/infer"])
async def test_answers_name_what_gave_them(ready: Served, path: str) -> None:
    status, headers, body = await ready.call("POST", path, BODY)
    assert status == 200
    assert body["outputs"] == infer(make_model()[1], INPUTS)
    assert (body["model_name"], body["model_version"], body["id"]) == ("ctr", "3", "r1")
    assert headers["x-model-version"] == "3"
    assert headers["x-model-digest"] == body["parameters"]["digest"] == ready.snapshot.digest
    assert headers["x-model-watermark"] == "2024-11-24T12:56:40.500Z"


async def test_readiness_and_metadata(ready: Served) -> None:
    for path in ("/v2/health/ready", "/v2/models/ctr/ready", "/v2/models/ctr/versions/3/ready"):
        status, headers, _ = await ready.call("GET", path)
        assert (status, headers["x-model-version"]) == (200, "3")
    _, _, about = await ready.call("GET", "/v2/models/ctr")
    assert about["versions"] == ["3"]
    assert [entry["name"] for entry in about["inputs"]] == ["user", "item", "type", "price"]
    assert (await ready.call("GET", "/v2"))[2]["name"] == "viridian"


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/v2/models/other/infer", "this server has 'ctr'"),
        ("/v2/models/ctr/versions/4/infer", "this server has '3'"),
        ("/v2/models/ctr/versions/03/infer", "this server has '3'"),
        ("/v3", "Not Found"),
    ],
)
async def test_what_is_not_here_is_404(ready: Served, path: str, says: str) -> None:
    status, headers, body = await ready.call("POST", path, BODY)
    assert status == 404
    assert says in body["error"]
    assert headers["x-model-version"] == "3"


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ("{", 400, "not JSON"),
        ("[" * 2000, 400, "not JSON"),
        (b"\xff\xfe{", 400, "not JSON"),
        ("[]", 400, "must be a JSON object"),
        (json.dumps({"inputs": INPUTS, "id": 7}), 400, "id must be a string"),
        (json.dumps({"inputs": INPUTS[1:]}), 400, "'user' is missing"),
        (json.dumps({"inputs": INPUTS, "outputs": [{"name": "score"}]}), 400, "this model has probability"),
        (json.dumps({"inputs": INPUTS, "outputs": "probability"}), 400, "list of objects"),
        ("x" * 5000, 413, "fewer examples"),
    ],
)
async def test_bad_requests_say_what_to_send(ready: Served, body: str | bytes, status: int, says: str) -> None:
    got, headers, answer = await ready.call("POST", INFER, body)
    assert got == status
    assert says in answer["error"]
    assert headers["x-model-digest"] == ready.snapshot.digest


async def test_wrong_method_is_405(ready: Served) -> None:
    status, headers, _ = await ready.call("GET", INFER)
    assert (status, headers["Allow"]) == (405, "POST")


async def test_retired_pods_serve_and_close_connections_until_reinstated(ready: Served) -> None:
    authorization = {"Authorization": f"Bearer {TOKEN}"}
    for verb, connection in (("retire", "close"), ("reinstate", None)):
        status, _, identity = await ready.call("POST", f"/viridian/v1/admin/{verb}", **authorization)
        assert (status, identity["retired"], identity["ready"]) == (200, verb == "retire", True)
        for method, path in (("POST", INFER), ("GET", "/v2/health/ready"), ("GET", "/metrics")):
            status, headers, _ = await ready.call(method, path, BODY if method == "POST" else None)
            assert (status, headers.get("Connection")) == (200, connection)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Basic czNjcmV0"}, 401),
        ({"Authorization": "Bearer "}, 401),
        ({"Authorization": "Bearer wrong"}, 403),
        ({"Authorization": "Bearer s3cre"}, 403),
        ({"Authorization": "Bearer é"}, 403),
    ],
)
async def test_admin_calls_need_the_token(ready: Served, headers: dict[str, str], status: int) -> None:
    assert (await ready.call("POST", "/viridian/v1/admin/retire", **headers))[0] == status
    assert not ready.state.retired


async def test_a_rotated_token_counts_and_a_missing_one_lets_nobody_in(ready: Served, site: Site) -> None:
    (site.root / "token").write_text("other")
    assert (await ready.call("POST", "/viridian/v1/admin/retire", Authorization=f"Bearer {TOKEN}"))[0] == 403
    assert (await ready.call("POST", "/viridian/v1/admin/retire", Authorization="Bearer other"))[0] == 200
    (site.root / "token").unlink()
    assert (await ready.call("POST", "/viridian/v1/admin/reinstate", Authorization="Bearer "))[0] == 401
    assert (await ready.call("POST", "/viridian/v1/admin/reinstate", Authorization="Bearer x"))[0] == 403


async def test_metrics_count_inference_only(ready: Served) -> None:
    for body in (BODY, BODY, "{"):
        await ready.call("POST", INFER, body)
    await ready.call("GET", "/v2/health/ready")
    _, _, text = await ready.call("GET", "/metrics")
    assert 'viridian_requests_total{code="200"} 2.0' in text
    assert 'viridian_requests_total{code="400"} 1.0' in text
    assert "viridian_request_seconds_count 3.0" in text
    assert "viridian_requests_in_flight 0.0" in text
    assert "viridian_ready 1.0" in text


async def test_headers_and_body_never_mix_versions_while_models_are_swapped(ready: Served, tmp_path: Path) -> None:
    other = snapshot_of(read_bundle(tmp_path / "b", write(tmp_path / "b", seed=2)), "4")
    expected = {snapshot.version: infer(snapshot.model, INPUTS) for snapshot in (ready.snapshot, other)}
    seen = set()

    async def client() -> None:
        for _ in range(40):
            status, headers, body = await ready.call("POST", INFER, BODY)
            assert status == 200
            assert headers["x-model-version"] == body["model_version"]
            assert headers["x-model-digest"] == body["parameters"]["digest"]
            assert body["outputs"] == expected[body["model_version"]]
            seen.add(body["model_version"])

    clients = [asyncio.create_task(client()) for _ in range(4)]
    while not all(task.done() for task in clients):
        ready.state.residents.swap(other if ready.state.snapshot is ready.snapshot else ready.snapshot)
        await asyncio.sleep(0)
    await asyncio.gather(*clients)
    assert seen == {"3", "4"}
    assert {ready.state.residents.current, ready.state.residents.previous} == {ready.snapshot, other}
