"""Stage, flip and give up, with a real server process."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from http_server import answering
from pod import BODY, INFER, TOKEN, Process, Site, exchange, until
from sample_bundle import ROWS, SCHEMA, make_model, write

from viridian_model.inference import infer
from viridian_model.requests import inputs_of_rows
from viridian_model.schema import Schema

Start = Callable[..., Process]


def admin(server: Process, call: str, body: object = None, token: str = TOKEN) -> tuple[int, Any]:
    text = None if body is None else json.dumps(body)
    status, _, answer = exchange(
        server.connect(), "POST", f"/viridian/v1/admin/{call}", text, Authorization=f"Bearer {token}"
    )
    return status, answer


def stored(site: Site, *, seed: int, schema: Schema = SCHEMA) -> str:
    """Put another bundle into the store without wanting it."""
    digest = write(site.root / "new", seed=seed, schema=schema)
    (site.root / "new").rename(site.store / digest.removeprefix("sha256:"))
    return digest


def residents(server: Process) -> dict[str, dict[str, Any]]:
    return {each["role"]: each for each in server.get("/viridian/v1/identity")[1]["residents"]}


def staged_as(server: Process, phase: str) -> dict[str, Any]:
    return until(lambda: (staged := residents(server).get("Staged")) and staged["phase"] == phase and staged)


def answered(server: Process) -> tuple[str, str, Any]:
    status, headers, body = exchange(server.connect(), "POST", INFER, BODY)
    assert status == 200
    return headers["x-model-version"], headers["x-model-digest"], body["outputs"]


def test_stage_flip_and_back(site: Site, start: Start) -> None:
    old = site.stored(seed=1)
    new = stored(site, seed=2)
    server = start(VIRIDIAN_DRAIN_SECONDS="0").wait_ready()
    inputs = json.loads(BODY)["inputs"]
    of_old, of_new = (infer(make_model(seed=seed)[1], inputs) for seed in (1, 2))

    assert admin(server, "flip", {"digest": new})[0] == 409
    wanted = {"version": "4", "digest": new, "eventTime": 1732453009.5, "golden": None}
    assert admin(server, "stage", wanted)[0] == 202
    staged_as(server, "Ready")
    assert answered(server) == ("3", old, of_old)
    assert admin(server, "stage", wanted)[0] == 202

    shutil.rmtree(site.store)  # from here on nothing may be fetched
    for _ in range(2):  # the second asks for what answers already
        status, identity = admin(server, "flip", {"digest": new})
        assert (status, identity["version"], identity["digest"]) == (200, "4", new)
        assert answered(server) == ("4", new, of_new)
    assert {role: each["digest"] for role, each in residents(server).items()} == {"Current": new, "Previous": old}
    assert admin(server, "flip", {"digest": old})[0] == 200
    assert answered(server) == ("3", old, of_old)
    assert residents(server)["Previous"]["digest"] == new


def test_what_cannot_be_swapped_is_refused_and_disturbs_nothing(site: Site, start: Start) -> None:
    old = site.stored(seed=1)
    other_graph = stored(site, seed=1, schema=Schema(categorical=("user", "item"), numeric=("price",)))
    good = stored(site, seed=2)
    server = start().wait_ready()
    cases = [
        ({"version": "4", "digest": other_graph}, "DoesNotFit", "schema, signature"),
        ({"version": "5", "digest": good, "golden": wrong_golden()}, "WarmupFailed", "golden request 0"),
        ({"version": "6", "digest": "sha256:" + "0" * 64}, "BadConfig", "MLFLOW_TRACKING_URI is not set"),
    ]
    for body, reason, says in cases:
        assert admin(server, "stage", body)[0] == 202
        error = staged_as(server, "Failed")["error"]
        assert error["reason"] == reason
        assert says in error["message"]
        assert admin(server, "flip", {"digest": body["digest"]})[0] == 409
        assert admin(server, "unstage")[0] == 200
        assert list(residents(server)) == ["Current"]
    assert answered(server)[1] == old
    assert server.get("/v2/health/ready")[0] == 200


def wrong_golden() -> dict[str, Any]:
    rows = inputs_of_rows(ROWS[:1], SCHEMA)
    output = {"name": "probability", "datatype": "FP32", "shape": [1], "data": [2.0]}
    return {"tolerance": 1e-4, "requests": [{"inputs": rows, "outputs": [output]}]}


async def test_one_digest_is_staged_at_a_time(site: Site, start: Start) -> None:
    import asyncio

    from aiohttp import web

    asked, answer = asyncio.Event(), asyncio.Event()

    async def slow_registry(_request: web.Request) -> web.StreamResponse:
        asked.set()
        await answer.wait()
        return web.Response(status=503)

    site.stored(seed=1)
    good = stored(site, seed=2)
    first, second = {"version": "4", "digest": "sha256:" + "1" * 64}, {"version": "5", "digest": good}
    async with answering(slow_registry) as url:
        server = await asyncio.to_thread(lambda: start(MLFLOW_TRACKING_URI=url).wait_ready())
        assert (await asyncio.to_thread(admin, server, "stage", first))[0] == 202
        await asyncio.wait_for(asked.wait(), 60)
        assert (await asyncio.to_thread(admin, server, "stage", second))[0] == 409
        assert (await asyncio.to_thread(admin, server, "stage", first))[0] == 202
        assert (await asyncio.to_thread(admin, server, "unstage"))[0] == 200
        assert (await asyncio.to_thread(admin, server, "stage", second))[0] == 202
        await asyncio.to_thread(staged_as, server, "Ready")
        answer.set()


@pytest.mark.parametrize(
    ("call", "body", "says"),
    [
        ("stage", {"version": "4"}, "digest: Field required"),
        ("stage", {"version": "4", "digest": "latest"}, "digest: String should match"),
        (
            "flip",
            {"digest": "sha256:" + "0" * 64, "a\nb": 1},
            "a b: Extra inputs are not permitted; send JSON with digest",
        ),
    ],
)
def test_a_bad_body_says_what_to_send(site: Site, start: Start, call: str, body: object, says: str) -> None:
    site.stored()
    server = start()
    status, answer = admin(server, call, body)
    assert status == 400
    assert says in answer["error"]
    assert admin(server, call, body, token="wrong")[0] == 403


def test_a_pod_serves_what_the_file_says_when_it_has_loaded(site: Site, start: Start, tmp_path: Path) -> None:
    """The ConfigMap changes as kubelet changes it, while the pod loads what it said before."""
    first, second = site.stored(seed=1), stored(site, seed=2)
    mounted = tmp_path / "mounted"
    for name, digest in (("..1", first), ("..2", second)):
        (mounted / name).mkdir(parents=True)
        (mounted / name / "revision.json").write_text(json.dumps({"model": "ctr", "version": "3", "digest": digest}))
    (mounted / "..data").symlink_to("..1")
    (mounted / "revision.json").symlink_to("..data/revision.json")
    server = start(VIRIDIAN_REVISION_DIR=str(mounted))
    until(lambda: server.said("listening"))
    (mounted / "..new").symlink_to("..2")
    (mounted / "..new").rename(mounted / "..data")
    shutil.rmtree(mounted / "..1")
    server.wait_ready()
    assert answered(server)[1] == second


def test_flips_under_load_are_never_mixed(site: Site, start: Start) -> None:
    digests = [site.stored(seed=1), stored(site, seed=2)]
    server = start().wait_ready()
    inputs = json.loads(BODY)["inputs"]
    offline = {digest: infer(make_model(seed=seed)[1], inputs) for seed, digest in enumerate(digests, 1)}
    admin(server, "stage", {"version": "4", "digest": digests[1]})
    staged_as(server, "Ready")
    stop, seen, wrong = threading.Event(), set(), []

    def ask() -> None:
        connection = server.connect()
        while not stop.is_set():
            status, headers, body = exchange(connection, "POST", INFER, BODY)
            digest = headers["x-model-digest"]
            seen.add(digest)
            if (status, body["parameters"], body["outputs"]) != (200, {"digest": digest}, offline[digest]):
                wrong.append(body)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for flip in range(50):
        assert admin(server, "flip", {"digest": digests[(flip + 1) % 2]})[0] == 200
    stop.set()
    for thread in threads:
        thread.join()
    assert seen == set(digests)
    assert wrong == []
