"""The load client of the demo, against the real application."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from pod import INFER, Site
from sample_bundle import write

from viridian_demo.load import Load, parse
from viridian_model.bundle import read_bundle
from viridian_server.application import make_application
from viridian_server.metrics import Metrics
from viridian_server.revision import read_revision
from viridian_server.settings import read_settings
from viridian_server.snapshot import Snapshot
from viridian_server.state import ServerState


class Farm:
    """A server with an old and a new model, and a golden file that knows both."""

    def __init__(self, site: Site) -> None:
        bundles = [read_bundle(site.root / name, write(site.root / name, seed=n)) for n, name in ((1, "a"), (2, "b"))]
        site.want(bundles[0].digest, version="1")
        self.state = ServerState(read_revision(site.revision), None)
        self.old, self.new = (
            Snapshot("ctr", str(n), bundle.digest, None, bundle.manifest, bundle.spec, bundle.load_model())
            for n, bundle in enumerate(bundles, 1)
        )
        self.golden = site.root / "golden.json"
        self.golden.write_text(json.dumps({bundle.digest: bundle.golden.to_json() for bundle in bundles}))
        self.state.serve(self.old)
        self.application = make_application(self.state, Metrics(), read_settings(site.env()))
        self.url = ""

    def load(self, *arguments: str) -> Load:
        inputs = "user:9,item:9,type:3,price:FP32"
        return Load(parse(["--url", self.url, "--inputs", inputs, *arguments]))


@pytest.fixture
async def farm(site: Site) -> AsyncIterator[Farm]:
    farm = Farm(site)
    async with TestServer(farm.application) as server:
        farm.url = str(server.make_url(INFER))
        yield farm


async def test_a_swap_under_load_is_seen_and_nothing_is_lost(farm: Farm) -> None:
    load = farm.load("--mode", "both", "--rate", "100", "--count", "200", "--golden", str(farm.golden))
    run = asyncio.create_task(load.run())
    while load.summary()["total"]["ok"] < 50 and not run.done():  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    farm.state.residents.swap(farm.new)
    summary = await run
    assert summary["total"] == {"sent": 200, "ok": 200, "failed": 0, "mixed": 0, "wrong": 0, "oldAfterNew": 0}
    assert [seen["version"] for seen in summary["versions"]] == ["1", "2"]
    assert summary["versions"][0]["last"] <= summary["versions"][1]["last"]
    assert sum(mode["checked"] for mode in summary["modes"].values()) == 100
    assert summary["modes"]["new"]["latencyMs"]["n"] == 100


async def test_what_is_wrong_is_counted_as_what_it_is(farm: Farm, tmp_path: Path) -> None:
    golden = json.loads(farm.golden.read_bytes())
    golden[farm.old.digest]["requests"][0]["outputs"][0]["data"][0] += 0.001
    (tmp_path / "wrong.json").write_text(json.dumps(golden))
    summary = await farm.load("--rate", "400", "--count", "40", "--golden", str(tmp_path / "wrong.json")).run()
    assert summary["total"]["wrong"] == 10
    assert summary["failures"][0]["reason"] == "wrong"


async def test_old_mixed_failed_and_foreign_answers_are_told_apart() -> None:
    # status, version in headers, version in body, whether the id is echoed
    answers = iter(
        (
            (200, "1", "1", True),
            (200, "2", "2", True),
            (200, "1", "1", True),
            (200, "2", "1", True),
            (500, "", "", True),
            (200, "2", "2", False),
        )
    )

    async def handler(request: web.Request) -> web.Response:
        status, in_headers, in_body, echo = next(answers)
        body = await request.json()
        data = [0.5] * len(body["inputs"][0]["data"])
        answer = {"id": body["id"] if echo else "?", "model_version": in_body, "outputs": [{"data": data}]}
        return web.json_response(answer, status=status, headers={"x-model-version": in_headers})

    application = web.Application()
    application.router.add_post("/infer", handler)
    async with TestServer(application) as server:
        url = str(server.make_url("/infer"))
        summary = await Load(parse(["--url", url, "--rate", "5", "--count", "6"])).run()
    unreachable = Load(parse(["--url", url, "--rate", "100", "--count", "3"]))
    counts = {"sent": 6, "ok": 4, "failed": 2, "mixed": 1, "wrong": 0, "oldAfterNew": 1}
    assert summary["total"] == counts
    assert summary["modes"]["keepalive"]["reasons"] == {"status 500": 1, "BadAnswer": 1}
    assert (await unreachable.run())["modes"]["keepalive"]["reasons"] == {"ClientConnectorError": 3}
