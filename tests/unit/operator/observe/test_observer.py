"""A whole look at what the executor made, and what each phase asks for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from answering import hang
from applying_cluster import OWNER, WINDOW, ApplyingCluster, body, revision, spec, update

from viridian_operator.act.executor import Executor
from viridian_operator.api.follow import Follow
from viridian_operator.api.rollout import Rollout
from viridian_operator.api.spec import ModelUpdateSpec
from viridian_operator.api.status import Aliases, Bake, Candidate, Kind, ModelUpdateStatus, Phase
from viridian_operator.decide.decision import CreateJob, EnsureRevision, EnsureService
from viridian_operator.decide.observation import JobState, Observation
from viridian_operator.decide.step import decide
from viridian_operator.kube.errors import Unavailable
from viridian_operator.kube.resources import Key
from viridian_operator.observe.needs import needs_of
from viridian_operator.observe.observer import Observer
from viridian_operator.observe.prober import probe_session
from viridian_operator.registry.errors import NotFound
from viridian_operator.registry.errors import Unavailable as RegistryUnavailable
from viridian_operator.registry.versions import ModelVersion
from viridian_operator.sources.errors import Unauthorized as LogUnauthorized
from viridian_operator.sources.poller import Reading
from viridian_operator.sources.redis_stream import Heads

NOW = datetime(2026, 1, 1, tzinfo=UTC)
GOLDEN = '{"tolerance":0.0001,"requests":[{"inputs":[],"outputs":[{"name":"y","data":[0.5]}]}]}'


class FakeRegistry:
    """Version 2 of update 7, and aliases."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.error: Exception | None = None

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        if self.error:
            raise self.error

    async def version_by_update(self, _model: str, tag: str) -> ModelVersion | None:
        self._ask(tag)
        return ModelVersion("ctr", "2", tags={"viridian.update": tag}) if tag == "uid-1/7" else None

    async def version(self, _model: str, number: str) -> ModelVersion:
        self._ask(f"version {number}")
        if number == "404":
            raise NotFound("no such version")
        return ModelVersion("ctr", number)

    async def aliases(self, _model: str) -> dict[str, str]:
        self._ask("aliases")
        return {"champion": "1"}


class World:
    """A cluster with what the executor made, one server for every pod, and an observer."""

    def __init__(self, session: aiohttp.ClientSession, port: int) -> None:
        self.cluster, self.registry, self.port = ApplyingCluster(), FakeRegistry(), port
        self.session = session
        self.woken: asyncio.Queue[Key] = asyncio.Queue()
        self.observer = Observer(self.cluster, session, wake=self.woken.put_nowait)  # type: ignore[arg-type]
        self.reading: Reading | None = Reading(Heads({"0": "5@1-0"}, 5, {"0": "0@0-0"}, {"0": 0}), 0.0, "")
        self.spec = spec(serving={**spec().serving.wire(), "port": port})

    async def connect(self) -> Any:
        return self.registry

    async def heads(self) -> Reading | None:
        return self.reading

    async def act(self, *actions: Any) -> None:
        executor = Executor(self.cluster, self.session)  # type: ignore[arg-type]
        raw = self.cluster.raw
        failures = await executor.execute(actions, spec=self.spec, owner=OWNER, raw=raw, registry=self.connect)
        assert failures == []

    def run_pods(self, hash_: str, count: int = 1) -> None:
        """What the ReplicaSet and EndpointSlice controllers would do; every pod has the same address."""
        template = self.cluster.objects["Deployment", f"ctr-{hash_}"]["spec"]["template"]
        for n in range(count):
            meta = {**template["metadata"], "name": f"ctr-{hash_}-{n}", "namespace": "recsys"}
            status = {
                "phase": "Running",
                "podIP": "127.0.0.1",
                "conditions": [{"type": "Ready", "status": "True"}],
            }
            self.cluster.put(
                {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": template["spec"], "status": status}
            )

    def route(self, hash_: str) -> None:
        service = self.cluster.objects["Service", "ctr"]
        service["spec"] |= {"clusterIP": "127.0.0.1", "ports": [{"port": self.port}]}
        labels = {**service["metadata"]["labels"], "kubernetes.io/service-name": "ctr"}
        target = {"kind": "Pod", "name": f"ctr-{hash_}-0"}
        self.cluster.put(
            {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {"name": "ctr-x", "namespace": "recsys", "labels": labels},
                "endpoints": [{"addresses": ["127.0.0.1"], "targetRef": target}],
            }
        )

    async def look(self, status: ModelUpdateStatus, now: datetime = NOW, **more: Any) -> Observation:
        sight = await self.observer.observe(
            body(), self.spec, status, now, heads=self.heads, registry=self.connect, **more
        )
        return sight.observation


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async def identity(_request: web.Request) -> web.Response:
        return web.json_response({"version": "1", "digest": "sha256:1", "ready": True})

    async def infer(_request: web.Request) -> web.Response:
        return web.json_response({"outputs": [{"name": "y", "data": [0.5]}]})

    app = web.Application()
    app.router.add_get("/viridian/v1/identity", identity)
    app.router.add_post("/v2/models/ctr/infer", infer)
    app.router.add_get("/api/v1/query", hang)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with probe_session() as session:
        world = World(session, runner.addresses[0][1])
        yield world
        await world.observer.aclose()
    await runner.cleanup()


def status(phase: Phase, **changes: Any) -> ModelUpdateStatus:
    return ModelUpdateStatus(update=update(phase, green=revision(), **changes))


SERVING = (
    EnsureRevision(revision(), "active", 1, golden=GOLDEN, golden_of=revision().digest),
    EnsureService("ctr", "active", "hash1"),
    EnsureService("ctr-preview", "preview", "hash1"),
)


async def test_nothing_is_there_at_first(world: World) -> None:
    seen = await world.look(ModelUpdateStatus())
    assert (seen.deployments, seen.pods, seen.jobs, seen.taken) == ((), (), (), ())
    assert seen.active_service is None
    assert seen.heads is not None
    assert seen.heads.total == 5
    assert world.registry.asked == []


async def test_what_the_executor_made_is_seen(world: World) -> None:
    await world.act(*SERVING)
    world.run_pods("hash1", 2)
    world.route("hash1")
    seen = await world.look(ModelUpdateStatus(active=revision()))
    assert [each.revision for each in seen.deployments] == ["hash1"]
    assert seen.ready_of("hash1") == 2
    assert seen.active_service is not None
    assert seen.active_service.revision == "hash1"
    assert seen.active_service.endpoints == ("hash1",)
    assert [pod.identity for pod in seen.pods] == [None, None]


async def test_a_candidate_proves_itself_pod_by_pod(world: World) -> None:
    await world.act(*SERVING)
    world.run_pods("hash1", 2)
    seen = await world.look(status(Phase.VERIFYING))
    assert [(pod.identity and pod.identity.digest, pod.golden) for pod in seen.pods] == [("sha256:1", "")] * 2


async def test_golden_requests_of_a_swap_are_asked_of_pods_that_serve_the_candidate_already(world: World) -> None:
    """The server says that it serves sha256:1: the old version in one look, the candidate in the other."""
    old = revision(swappable=True, digest="sha256:1")
    new = revision(2, hash="hash1", deployment="ctr-hash1", swappable=True)
    for green, golden in ((new, None), (old, "")):
        told = {"golden": GOLDEN, "golden_of": green.digest}
        await world.act(EnsureRevision(green, "active", 1, **told), EnsureService("ctr", "active", "hash1"))
        world.run_pods("hash1")
        seen = await world.look(
            ModelUpdateStatus(active=old, update=update(Phase.SWITCHING, green=green, hot_swap=True))
        )
        assert [pod.golden for pod in seen.pods] == [golden]
    assert seen.deployments[0].serves and seen.deployments[0].serves.digest == "sha256:1"


async def test_the_service_is_asked_once_only_the_target_stands_behind_it(world: World) -> None:
    await world.act(*SERVING)
    world.run_pods("hash1")
    seen = await world.look(status(Phase.SWITCHING))
    assert seen.active_service is not None
    assert seen.active_service.answered is None
    world.route("hash1")
    seen = await world.look(status(Phase.SWITCHING))
    assert seen.active_service is not None
    assert seen.active_service.answered == ("sha256:1",) * 5


async def test_checks_run_when_an_interval_has_passed(world: World) -> None:
    await world.act(*SERVING)
    world.run_pods("hash1")
    bake = Bake(started_at=NOW, deadline=NOW + timedelta(hours=1))
    baking = status(Phase.BAKING, bake=bake, replicas=1).but(active=revision())
    assert (await world.look(baking)).checks is None
    seen = await world.look(baking, NOW + timedelta(seconds=10))
    assert seen.checks is not None
    assert [check.outcome for check in seen.checks] == ["Passed"]
    world.cluster.objects = {key: obj for key, obj in world.cluster.objects.items() if key[0] != "Pod"}
    assert (await world.look(baking, NOW + timedelta(seconds=10))).checks is None


async def test_a_pass_does_not_wait_for_a_check_that_hangs(world: World) -> None:
    """Prometheus does not answer: every pass is quick, lost endpoints roll back, the error comes in later."""
    await world.act(*SERVING)
    world.run_pods("hash1")
    url = f"http://127.0.0.1:{world.port}"
    checks = [
        {"name": "golden", "golden": True},
        {"name": "errors", "prometheus": {"url": url, "query": "q", "max": 1}},
    ]
    world.spec = world.spec.but(rollout=Rollout.model_validate({"healthChecks": checks}))
    bake = Bake(started_at=NOW, deadline=NOW + timedelta(hours=1))
    baking = status(Phase.BAKING, bake=bake, replicas=1).but(active=revision(), previous=revision(9))
    later = NOW + timedelta(seconds=10)

    async def quick() -> Observation:
        begun = time.monotonic()
        seen = await world.look(baking, later)
        assert time.monotonic() - begun < 1
        return seen

    assert (await quick()).checking == {"golden", "errors"}
    async with asyncio.timeout(5):
        await world.woken.get()
    seen = await quick()
    assert [(check.name, check.outcome) for check in seen.checks or ()] == [("golden", "Passed")]
    assert seen.checking == {"errors"}
    async with asyncio.timeout(20):
        await world.woken.get()
    seen = await quick()
    assert [(check.name, check.outcome) for check in seen.checks or ()] == [("golden", "Passed"), ("errors", "Errored")]
    world.cluster.objects = {key: obj for key, obj in world.cluster.objects.items() if key[0] != "Pod"}
    lost = decide(world.spec, baking, await quick(), later).status.update
    assert lost is not None
    assert (lost.phase, lost.reason) == (Phase.ROLLING_BACK, "EndpointsLost")


async def test_names_that_others_have_are_told(world: World) -> None:
    for version, kind, name in (("v1", "Service", "ctr"), ("apps/v1", "Deployment", "ctr-hash1")):
        meta = {"name": name, "namespace": "recsys"}
        world.cluster.put({"apiVersion": version, "kind": kind, "metadata": meta, "spec": {}})
    seen = await world.look(status(Phase.PREPARING))
    assert seen.taken == ("Service ctr", "Deployment ctr-hash1")
    assert seen.active_service is not None
    assert not seen.active_service.owned
    assert seen.deployments == ()


async def test_the_registry_is_asked_for_the_version_of_a_complete_training(world: World) -> None:
    await world.act(CreateJob("train", update(), WINDOW, None))
    training = ModelUpdateStatus(update=update())
    seen = await world.look(training)
    assert [each.state for each in seen.jobs] == [JobState.PENDING]
    assert world.registry.asked == []
    world.cluster.objects["Job", "ctr-train-7-a1"]["status"] = {"conditions": [{"type": "Complete", "status": "True"}]}
    seen = await world.look(training)
    assert seen.registry.version is not None
    assert seen.registry.version.update == "uid-1/7"


async def test_registry_and_log_errors_are_not_absence(world: World) -> None:
    world.registry.error = RegistryUnavailable("no answer")
    world.reading = Reading(None, float("inf"), "refused")
    owed = ModelUpdateStatus(aliases=Aliases(wanted={"champion": "2"}))
    seen = await world.look(owed)
    assert (seen.registry.error, seen.registry.missing, seen.registry.aliases) == ("no answer", False, None)
    assert (seen.heads, seen.heads_error) == (None, "refused")
    world.registry.error = None
    pinned = spec(pin={"version": 404, "reason": "test"})
    world.spec = pinned
    seen = await world.look(ModelUpdateStatus())
    assert seen.registry.missing


async def test_the_newest_events_are_counted_once_before_the_first_window(world: World) -> None:
    asked: list[Mapping[str, int]] = []

    async def count_back(_heads: Heads, counts: Mapping[str, int]) -> Mapping[str, str]:
        asked.append(counts)
        return {"0": "2@1-1"}

    data = spec().data
    assert data
    world.spec = spec(data=data.wire() | {"maxEvents": 3})
    seen = await world.look(ModelUpdateStatus(), count_back=count_back)
    assert seen.heads and seen.heads.newest == {"0": "2@1-1"}
    assert asked == [{"0": 3}]
    await world.look(ModelUpdateStatus(origin={"0": "2@1-1"}), count_back=count_back)
    assert len(asked) == 1

    async def refused(_heads: Heads, _counts: Mapping[str, int]) -> Mapping[str, str]:
        raise LogUnauthorized("no EVAL_RO")

    seen = await world.look(ModelUpdateStatus(), count_back=refused)
    assert (seen.heads, seen.heads_error) == (None, "no EVAL_RO")


@pytest.mark.parametrize("kind", ["Deployment", "Pod", "Service", "EndpointSlice", "ConfigMap", "Job"])
async def test_a_partial_picture_is_none(world: World, kind: str) -> None:
    world.cluster.fail_on["list", kind] = Unavailable("no answer")
    with pytest.raises(Unavailable):
        await world.look(ModelUpdateStatus())


def swap(phase: Phase) -> ModelUpdateStatus:
    """A hot swap in ``phase``."""
    return status(phase, hot_swap=True).but(active=revision(swappable=True))


NONE: frozenset[str] = frozenset()
CANDIDATE = Candidate(version="2", digest="sha256:2")
JOB_CHECK = {"name": "smoke", "job": {"template": {}}}
OWED = Aliases(wanted={"champion": "2"})


def following(**changes: Any) -> ModelUpdateSpec:
    return spec(strategy="Registry", follow={"alias": "challenger"}, **changes)


@pytest.mark.parametrize(
    ("chosen", "current", "wanted"),
    [
        (spec(), ModelUpdateStatus(), {"jobs": True, "heads": True, "aliases": False, "version": ""}),
        (spec(), ModelUpdateStatus(recovering="3"), {"version": "3", "aliases": True}),
        (spec(), ModelUpdateStatus(aliases=OWED), {"aliases": True}),
        (spec(), ModelUpdateStatus(aliases=OWED.but(confirmed=True)), {"aliases": False}),
        (spec(), status(Phase.TRAINING), {"candidate": True, "heads": False, "jobs": True}),
        (spec(), status(Phase.TRAINING, kind=Kind.REDEPLOY), {"candidate": False}),
        (spec(), status(Phase.PREPARING, candidate=CANDIDATE), {"version": "1", "unless_deployed": "hash1"}),
        (spec(), status(Phase.BAKING), {"checks": True, "jobs": False}),
        (spec(), swap(Phase.PREPARING), {"unless_deployed": "", "unless_kept": revision().digest, "golden": NONE}),
        (spec(), swap(Phase.SCALING), {"identity": frozenset({"hash1"}), "golden": NONE}),
        (spec(), swap(Phase.SWITCHING), {"identity": None, "golden": frozenset({"hash1"}), "service": "hash1"}),
        (spec(), ModelUpdateStatus(active=revision(swappable=True)), {"identity": frozenset({"hash1"})}),
        (spec(), ModelUpdateStatus(active=revision()), {"identity": NONE}),
        (spec(rollout={"healthChecks": [JOB_CHECK]}), status(Phase.BAKING), {"jobs": True}),
        (spec(rollout={"healthChecks": [JOB_CHECK]}), status(Phase.SWITCHING), {"jobs": False, "checks": False}),
        (spec(), status(Phase.SCALING), {"identity": frozenset({"hash1"}), "golden": frozenset({"hash1"})}),
        (spec(), status(Phase.SWITCHING).but(aliases=OWED), {"identity": None, "aliases": False, "service": "hash1"}),
        (spec(), status(Phase.ROLLING_BACK).but(previous=revision(9)), {"service": "hash9", "identity": None}),
        (spec(pin={"version": 4, "reason": "test"}), ModelUpdateStatus(), {"version": "4"}),
        (following(), ModelUpdateStatus(), {"follow": Follow(alias="challenger"), "listed": True, "heads": True}),
        (following(), status(Phase.BAKING), {"follow": None, "listed": False}),
        (following(pin={"version": 4, "reason": "test"}), ModelUpdateStatus(), {"follow": None, "version": "4"}),
        (spec(pin={"version": 1, "reason": "test"}), ModelUpdateStatus(active=revision()), {"version": ""}),
    ],
)
def test_each_phase_asks_what_it_needs(
    chosen: ModelUpdateSpec, current: ModelUpdateStatus, wanted: dict[str, Any]
) -> None:
    needs = needs_of(chosen, current)
    assert {name: getattr(needs, name) for name in wanted} == wanted


def test_images_that_prove_nothing_are_asked_nothing() -> None:
    silent = spec(serving={**spec().serving.wire(), "identity": "ReadinessOnly"})
    needs = needs_of(silent, status(Phase.SWITCHING))
    assert (needs.identity, needs.golden, needs.service) == (frozenset(), frozenset(), "")
