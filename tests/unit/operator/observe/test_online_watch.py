"""Trainers and replicas between passes: news wakes one, figures do not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import web

from viridian_model.schema import Schema
from viridian_operator.api.version import ModelRef
from viridian_operator.observe.identity import identity_of
from viridian_operator.observe.online import report_of
from viridian_operator.observe.online_watch import OnlineWatch
from viridian_operator.observe.prober import Answer, probe_session
from viridian_trainer.online.prequential import Prequential
from viridian_trainer.online.server import online_status
from viridian_trainer.online.status import Status

ROOT = "9b3c6388cba19679177f4d09a73d6b02"


class Setting:
    """A trainer and two replicas that say what the test sets."""

    def __init__(self) -> None:
        self.told: dict[str, Any] = {"state": "Publishing", "sequence": "1.1", "root": ROOT, "reverts": 0}
        self.said = {name: {"version": "1", "digest": "d", "sequence": "1.1", "merkleRoot": ROOT} for name in "ab"}
        self.silent: set[str] = set()
        self.looks = 0
        self.woken: list[str] = []
        self.base = ""

    async def trainer(self, _: web.Request) -> web.Response:
        self.looks += 1
        return web.json_response(self.told)

    async def replica(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        return web.json_response(self.said[name], status=503 if name in self.silent else 200)

    async def looked(self) -> None:
        """Two whole looks from now on."""
        seen = self.looks
        await self.until(lambda: self.looks >= seen + 3)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0.005)


@pytest.fixture
async def setting() -> AsyncIterator[Setting]:
    made, app = Setting(), web.Application()
    app.router.add_get("/viridian/v1/online", made.trainer)
    app.router.add_get("/{name}/viridian/v1/identity", made.replica)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.base = f"http://127.0.0.1:{runner.addresses[0][1]}"
    async with probe_session() as session:
        watch: OnlineWatch[str] = OnlineWatch(made.woken.append, session, interval=0.01)
        watch.watch("ctr", made.base, {name: f"{made.base}/{name}" for name in "ab"})
        await made.looked()
        yield made
        await watch.aclose()
    await runner.cleanup()


async def test_deltas_and_figures_wake_nobody(setting: Setting) -> None:
    setting.told |= {"sequence": "1.9", "lag": {"events": 7, "seconds": 0.1}, "test": {"bound": 0.4}}
    for said in setting.said.values():
        said["sequence"] = "1.9"
    await setting.looked()
    assert setting.woken == []


NEWS: dict[str, Callable[[Setting], object]] = {
    "state": lambda s: s.told.update(state="Shadow"),
    "revert": lambda s: s.told.update(reverts=1),
    "anchor": lambda s: s.told.update(anchor={"version": "2", "digest": "sha256:2", "at": 1.0}),
    "epoch of one": lambda s: s.said["a"].update(sequence="2.0"),
    "version of one": lambda s: s.said["b"].update(version="2"),
    "another root": lambda s: s.said["b"].update(merkleRoot="other"),
    "another root published": lambda s: s.told.update(root="other"),
    "repair": lambda s: s.said["b"].update(consistency={"repaired": 1}),
    "silence of one": lambda s: s.silent.add("a"),
}


@pytest.mark.parametrize("change", NEWS.values(), ids=NEWS)
async def test_news_wakes_once(setting: Setting, change: Callable[[Setting], object]) -> None:
    change(setting)
    await setting.until(lambda: bool(setting.woken))
    await setting.looked()
    assert setting.woken == ["ctr"]


@pytest.mark.parametrize(
    ("consistency", "found"),
    [
        (None, (0, "")),
        ({"repaired": 0, "last": None}, (0, "")),
        ({"repaired": 2, "last": {"cause": "Rows", "blocks": 1}}, (2, "Rows")),
        ({"repaired": "some", "last": {"cause": "Rows"}}, (0, "")),
    ],
    ids=["no chain", "none yet", "repaired", "another form"],
)
def test_a_pod_tells_what_it_repaired(consistency: Any, found: tuple[int, str]) -> None:
    said = {"version": "1", "digest": "d", "consistency": consistency}
    identity = identity_of(Answer(200, json.dumps(said)))
    assert identity is not None
    assert (identity.repaired, identity.damage) == found


def test_what_a_trainer_says_before_it_has_begun_can_be_read() -> None:
    told = online_status(Status(), Prequential(100, [], Schema()))
    found = report_of(told)
    assert found is not None
    assert (found.state, found.pending, found.reverts) == ("Starting", None, 0)


@pytest.mark.parametrize(
    ("anchor", "pending"),
    [
        (None, None),
        ({"version": "1", "digest": "sha256:1", "at": None, "trainedTo": {}}, None),
        ({"version": "", "digest": "sha256:2", "at": 1.5, "trainedTo": {}}, None),
        (
            {"version": "2", "digest": "sha256:2", "at": 1.5, "trainedTo": {}},
            ModelRef(version="2", digest="sha256:2"),
        ),
    ],
    ids=["none", "champion", "not registered yet", "waits"],
)
def test_only_a_registered_anchor_without_verdict_waits(anchor: Any, pending: ModelRef | None) -> None:
    found = report_of({"state": "Publishing", "anchor": anchor})
    assert found is not None
    assert found.pending == pending


@pytest.mark.parametrize("body", [None, [], {}, {"state": 7}, {"state": "Publishing", "lag": "much"}])
def test_another_form_is_no_report(body: Any) -> None:
    assert report_of(body) is None
