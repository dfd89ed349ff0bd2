"""Effects: idempotent, in safe order, and never on what is not ours."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Iterable
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from applying_cluster import OWNER, WINDOW, ApplyingCluster, revision, spec, update

from viridian_operator.act.errors import NameTaken
from viridian_operator.act.executor import Executor
from viridian_operator.api import names
from viridian_operator.api.serves import read_serves
from viridian_operator.api.spec import ModelUpdateSpec
from viridian_operator.api.status import Revision
from viridian_operator.decide.decision import (
    Action,
    CreateJob,
    DeleteJob,
    DeleteMonitor,
    DeleteRevision,
    DeleteVersion,
    EnsureAdminSecret,
    EnsureMonitor,
    EnsureRevision,
    EnsureService,
    FlipPods,
    Retire,
    RevertPods,
    SetAliases,
    StageVersion,
    TagVersion,
    UnstagePods,
)
from viridian_operator.kube.errors import Unavailable
from viridian_operator.observe.deployments import deployment_view
from viridian_operator.registry.errors import Unavailable as RegistryUnavailable

GOLDEN = '{"tolerance":0.1,"requests":[]}'
OTHER_GOLDEN = '{"tolerance":0.2,"requests":[]}'
SERVE = (
    EnsureAdminSecret(),
    EnsureRevision(revision(), "active", 2, golden=GOLDEN, golden_of=revision().digest),
    EnsureService("ctr", "active", "hash1"),
    EnsureService("ctr-preview", "preview", "hash1"),
)


class FakeRegistry:
    """Notes what is written; ``down`` makes it fail."""

    def __init__(self) -> None:
        self.written: list[tuple[str, ...]] = []
        self.down = False

    async def set_alias(self, *what: str) -> None:
        if self.down:
            raise RegistryUnavailable("no answer")
        self.written.append(what)

    set_version_tag = set_alias
    delete_version = set_alias


@pytest.fixture
def cluster() -> ApplyingCluster:
    return ApplyingCluster()


@pytest.fixture
def registry() -> FakeRegistry:
    return FakeRegistry()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


class Passes:
    """Runs passes of actions."""

    def __init__(self, cluster: ApplyingCluster, session: aiohttp.ClientSession, registry: FakeRegistry) -> None:
        self.cluster, self.registry = cluster, registry
        self.executor = Executor(cluster, session)  # type: ignore[arg-type]

    async def __call__(self, actions: Iterable[Action], chosen: ModelUpdateSpec | None = None) -> list[str]:
        async def connect() -> Any:
            return self.registry

        return await self.executor.execute(
            actions, spec=chosen or spec(), owner=OWNER, raw=self.cluster.raw, registry=connect
        )


@pytest.fixture
def run(cluster: ApplyingCluster, session: aiohttp.ClientSession, registry: FakeRegistry) -> Passes:
    return Passes(cluster, session, registry)


async def test_a_revision_comes_up_record_first_and_a_second_pass_writes_nothing(
    cluster: ApplyingCluster, run: Passes
) -> None:
    assert await run(SERVE) == []
    assert cluster.writes == [
        "apply Secret ctr-admin",
        "apply ConfigMap ctr-hash1",
        "apply Deployment ctr-hash1",
        "apply PodDisruptionBudget ctr-hash1",
        "apply Service ctr",
        "apply Service ctr-preview",
    ]
    token = cluster.objects["Secret", "ctr-admin"]["data"]
    cluster.writes.clear()
    assert await run(SERVE) == []
    assert cluster.writes == []
    assert cluster.objects["Secret", "ctr-admin"]["data"] == token


async def test_size_role_and_selector_are_one_write_each(cluster: ApplyingCluster, run: Passes) -> None:
    await run(SERVE)
    await run([EnsureRevision(revision(2), "preview", 1)])
    cluster.writes.clear()
    moved = [
        EnsureRevision(revision(2), "active", 2),
        EnsureRevision(revision(), "previous", 1),
        EnsureService("ctr", "active", "hash2"),
    ]
    assert await run(moved) == []
    assert cluster.writes == ["apply Deployment ctr-hash2", "apply Deployment ctr-hash1", "apply Service ctr"]
    assert cluster.objects["Service", "ctr"]["spec"]["selector"] == {
        names.MODEL_UPDATE: "ctr",
        names.REVISION: "hash2",
    }


async def test_a_changed_template_or_port_does_not_touch_a_revision_that_exists(
    cluster: ApplyingCluster, run: Passes
) -> None:
    await run(SERVE)
    cluster.writes.clear()
    template = {"spec": {"containers": [{"name": "server", "image": "server:2"}]}}
    changed = spec(serving={"replicas": 2, "port": 9999, "template": template})
    assert await run(SERVE, changed) == []
    assert cluster.writes == []
    await run([EnsureRevision(revision(2), "preview", 1), EnsureService("ctr-preview", "preview", "hash2")], changed)
    assert cluster.objects["Service", "ctr-preview"]["spec"]["ports"][0]["targetPort"] == 9999
    assert cluster.objects["Service", "ctr"]["spec"]["ports"][0]["targetPort"] == 8080


async def test_a_lost_record_is_rebuilt_around_the_deployment_that_serves(
    cluster: ApplyingCluster, run: Passes
) -> None:
    await run(SERVE)
    template = cluster.objects["Deployment", "ctr-hash1"]["spec"]["template"]
    del cluster.objects["ConfigMap", "ctr-hash1"]
    other = {"spec": {"containers": [{"name": "server", "image": "server:2"}]}}
    assert await run(SERVE, spec(serving={"replicas": 2, "template": other})) == []
    assert cluster.objects["Deployment", "ctr-hash1"]["spec"]["template"] == template
    data = cluster.objects["ConfigMap", "ctr-hash1"]["data"]
    assert json.loads(data["deployment.json"])["spec"]["template"]["spec"]["containers"][0]["image"] == "server:1"


async def test_deleted_and_edited_children_are_restored(cluster: ApplyingCluster, run: Passes) -> None:
    await run(SERVE)
    del cluster.objects["Deployment", "ctr-hash1"]
    cluster.objects["Service", "ctr"]["spec"]["selector"]["extra"] = "label"
    assert await run(SERVE) == []
    assert ("Deployment", "ctr-hash1") in cluster.objects
    assert "extra" not in cluster.objects["Service", "ctr"]["spec"]["selector"]


async def test_a_redeploy_takes_golden_requests_from_the_same_digest(cluster: ApplyingCluster, run: Passes) -> None:
    await run(SERVE)
    await run([EnsureRevision(revision(1, hash="other", deployment="ctr-other"), "preview", 1)])
    data = cluster.objects["ConfigMap", "ctr-other"]["data"]
    assert data["golden.json"] == GOLDEN


async def test_retain_takes_the_owner_references_away(cluster: ApplyingCluster, run: Passes) -> None:
    await run(SERVE)
    # with every pod ready nothing else asks for the Secret, without which none of them starts again
    assert await run(SERVE[1:], spec(deletionPolicy="Retain")) == []
    assert not [name for name, obj in cluster.objects.items() if obj["metadata"].get("ownerReferences")]


@pytest.mark.parametrize(
    ("kind", "version", "name"),
    [
        ("ConfigMap", "v1", "ctr-hash1"),
        ("Deployment", "apps/v1", "ctr-hash1"),
        ("Service", "v1", "ctr"),
        ("Secret", "v1", "ctr-admin"),
    ],
)
async def test_what_is_not_ours_is_left_untouched(
    cluster: ApplyingCluster, run: Passes, kind: str, version: str, name: str
) -> None:
    theirs = {"name": name, "namespace": "recsys", "uid": "x", "labels": {"app": "other"}}
    before = dict(cluster.put({"apiVersion": version, "kind": kind, "metadata": theirs, "spec": {}}))
    with pytest.raises(NameTaken, match=f"{kind} {name}"):
        await run(SERVE)
    assert cluster.objects[kind, name] == before


async def test_a_service_is_adopted_if_its_owner_says_so(cluster: ApplyingCluster, run: Passes) -> None:
    meta = {"name": "ctr", "namespace": "recsys", "annotations": {names.ANNOTATION_ADOPT: "ctr"}}
    cluster.put({"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {"selector": {"app": "old"}}})
    assert await run([EnsureService("ctr", "active", "hash1")]) == []
    assert cluster.objects["Service", "ctr"]["spec"]["selector"][names.REVISION] == "hash1"


async def test_a_revision_that_a_service_selects_by_now_is_not_deleted(cluster: ApplyingCluster, run: Passes) -> None:
    await run(SERVE)
    failures = await run([DeleteRevision("ctr-hash1", "hash1")])
    assert "selects revision hash1" in failures[0]
    cluster.fail_on["get", "Service"] = Unavailable("no answer")
    assert await run([DeleteRevision("ctr-hash1", "hash1")])
    assert ("Deployment", "ctr-hash1") in cluster.objects


async def test_an_unreferenced_revision_goes_completely(cluster: ApplyingCluster, run: Passes) -> None:
    await run([*SERVE, EnsureRevision(revision(2), "preview", 1)])
    assert await run([DeleteRevision("ctr-hash2", "hash2")]) == []
    assert not [name for _, name in cluster.objects if name == "ctr-hash2"]


async def test_one_failure_stops_no_other_traffic_but_every_deletion(cluster: ApplyingCluster, run: Passes) -> None:
    await run([*SERVE, EnsureRevision(revision(2), "preview", 1)])
    cluster.fail_on["apply", "Deployment"] = Unavailable("no answer")
    failures = await run(
        [
            EnsureRevision(revision(), "active", 5),
            EnsureService("ctr", "active", "hash2"),
            DeleteRevision("ctr-hash1", "hash1"),
            SetAliases((("champion", "2"),)),
        ]
    )
    assert [failure.split(":")[0] for failure in failures] == ["EnsureRevision ctr-hash1", "DeleteRevision ctr-hash1"]
    assert cluster.objects["Service", "ctr"]["spec"]["selector"][names.REVISION] == "hash2"
    assert "put off" in failures[1]
    assert ("Deployment", "ctr-hash1") in cluster.objects
    assert run.registry.written == [("ctr", "champion", "2")]


async def test_a_job_is_created_once(cluster: ApplyingCluster, run: Passes) -> None:
    create = CreateJob("train", update(), WINDOW, None)
    assert await run([create]) == []
    created = cluster.objects["Job", "ctr-train-7-a1"]
    assert await run([create]) == []
    assert cluster.objects["Job", "ctr-train-7-a1"] is created
    assert await run([DeleteJob("ctr-train-7-a1")]) == []
    assert not cluster.names("Job")


async def test_a_gang_gets_its_names_first_and_leaves_none_behind(cluster: ApplyingCluster, run: Passes) -> None:
    template = {"spec": {"containers": [{"name": "trainer", "image": "t"}]}}
    gang = spec(training={"nodes": 2, "template": template})
    await run([CreateJob("train", update(), WINDOW, None)], gang)
    assert cluster.writes == ["apply Service ctr-train-7-a1", "create Job ctr-train-7-a1"]
    await run([DeleteJob("ctr-train-7-a1")], gang)
    assert not cluster.objects


async def test_the_drift_monitor_comes_changes_with_the_spec_and_goes(cluster: ApplyingCluster, run: Passes) -> None:
    template = {"spec": {"containers": [{"name": "monitor", "image": "trainer:1"}]}}
    watching = spec(trigger={"newEvents": 1, "drift": {"template": template}})
    assert await run([EnsureMonitor()], watching) == []
    assert await run([EnsureMonitor()], watching) == []
    assert cluster.writes == ["apply Deployment ctr-drift"], "a second pass writes nothing"
    pod = cluster.objects["Deployment", "ctr-drift"]["spec"]["template"]
    env = {each["name"]: each.get("value") for each in pod["spec"]["containers"][0]["env"]}
    assert (env["VIRIDIAN_TASK"], env["VIRIDIAN_ACTIVE_URL"]) == ("Monitor", "http://ctr.recsys:80")
    assert json.loads(env["VIRIDIAN_DRIFT"]) == {"delta": 0.03, "key": "uid-1"}
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert names.REVISION not in pod["metadata"]["labels"], "no Service selects it"
    await run([EnsureMonitor()], watching.but(data=watching.data and watching.data.but(max_rejected=0.5)))
    assert cluster.writes == ["apply Deployment ctr-drift"] * 2
    assert await run([DeleteMonitor()]) == []
    assert not cluster.objects


async def test_registry_writes_fail_without_touching_anything_else(run: Passes) -> None:
    assert await run([TagVersion("2", "viridian.verdict", "Pass")]) == []
    assert await run([DeleteVersion("1")]) == []
    assert run.registry.written == [("ctr", "2", "viridian.verdict", "Pass"), ("ctr", "1")]
    run.registry.down = True
    assert await run([SetAliases((("champion", "2"),))]) == ["SetAliases: Unavailable: no answer"]


async def test_pods_are_told_with_the_token_and_failures_are_returned(cluster: ApplyingCluster, run: Passes) -> None:
    await run(SERVE)
    async with admin_calls(cluster) as told:
        retire = Retire("hash1", ("127.0.0.1", "127.0.0.2"), True)
        failures = await run([retire, Retire("hash1", ("127.0.0.1",), False)])
    assert [path for path, _, _ in told] == ["/viridian/v1/admin/retire", "/viridian/v1/admin/reinstate"]
    assert told[0][1].startswith("Bearer ")
    assert len(failures) == 1
    assert "127.0.0.2" in failures[0]


@pytest.mark.parametrize(("recorded", "calls"), [(True, 1), (False, 2)], ids=["stored", "store-away"])
async def test_one_pod_goes_back_for_all_unless_it_cannot_write_that(
    cluster: ApplyingCluster, run: Passes, recorded: bool, calls: int
) -> None:
    await run([EnsureAdminSecret()])
    async with admin_calls(cluster, answer={"recorded": recorded}) as told:
        assert await run([RevertPods(("127.0.0.1", "127.0.0.1"), "anchor 4 was rejected")]) == []
    assert len(told) == calls
    assert json.loads(told[0][2]) == {"to": "anchor", "reason": "anchor 4 was rejected"}


async def test_where_the_first_pod_does_not_answer_the_others_go_back(cluster: ApplyingCluster, run: Passes) -> None:
    await run([EnsureAdminSecret()])
    async with admin_calls(cluster) as told:
        (failure,) = await run([RevertPods(("127.0.0.2", "127.0.0.1"), "worse")])
    assert "127.0.0.2" in failure
    assert len(told) == 1


@contextlib.asynccontextmanager
async def admin_calls(cluster: ApplyingCluster, answer: Any = None) -> AsyncIterator[list[tuple[str, str, str]]]:
    """Path, authorization and body of each call to the pod 127.0.0.1; at 127.0.0.2 nobody answers."""
    told: list[tuple[str, str, str]] = []

    async def called(request: web.Request) -> web.Response:
        told.append((request.path, request.headers["Authorization"], await request.text()))
        return web.json_response(answer)

    app = web.Application()
    app.router.add_post("/viridian/v1/admin/{verb}", called)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    container = {"name": "server", "env": [{"name": "VIRIDIAN_PORT", "value": str(port)}]}
    meta = {"name": "p", "namespace": "recsys"}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {"containers": [container]}}
    cluster.put(pod | {"status": {"podIP": "127.0.0.1"}})
    cluster.put({**pod, "metadata": {**meta, "name": "gone"}, "status": {"podIP": "127.0.0.2"}, "spec": {}})
    yield told
    await runner.cleanup()


SWAPPABLE = revision(swappable=True, graph="g1")
NEXT = revision(2, hash="hash1", deployment="ctr-hash1", swappable=True, graph="g1")


def serving(chosen: Revision, *standby: str, **more: str) -> EnsureRevision:
    return EnsureRevision(chosen, "active", 2, standby=standby, **more)


async def test_pods_that_take_versions_have_two_config_maps_and_only_one_changes(
    cluster: ApplyingCluster, run: Passes
) -> None:
    first = serving(SWAPPABLE, golden=GOLDEN, golden_of=SWAPPABLE.digest)
    assert await run([EnsureAdminSecret(), first]) == []
    assert cluster.writes[1:4] == [
        "apply ConfigMap ctr-hash1",
        "apply ConfigMap ctr-hash1-serves",
        "apply Deployment ctr-hash1",
    ]
    pods = cluster.objects["Deployment", "ctr-hash1"]["spec"]
    cluster.writes.clear()
    assert await run([serving(SWAPPABLE, NEXT.digest, golden=OTHER_GOLDEN, golden_of=NEXT.digest)]) == []
    assert cluster.writes == ["apply ConfigMap ctr-hash1-serves"]
    kept = read_serves(cluster.objects["ConfigMap", "ctr-hash1-serves"])
    assert kept and kept.version == "1" and kept.golden == {SWAPPABLE.digest: GOLDEN, NEXT.digest: OTHER_GOLDEN}
    cluster.writes.clear()
    assert await run([serving(NEXT, SWAPPABLE.digest)]) == []
    assert cluster.writes == ["apply ConfigMap ctr-hash1-serves", "apply Deployment ctr-hash1"]
    assert cluster.objects["Deployment", "ctr-hash1"]["spec"] == pods
    said = read_serves(cluster.objects["ConfigMap", "ctr-hash1-serves"])
    assert said and (said.version, said.digest, said.graph) == ("2", NEXT.digest, "g1")
    assert said.golden == {NEXT.digest: OTHER_GOLDEN, SWAPPABLE.digest: GOLDEN}
    cluster.writes.clear()
    assert await run([serving(NEXT, SWAPPABLE.digest)]) == []
    assert cluster.writes == []
    view = deployment_view(cluster.objects["Deployment", "ctr-hash1"], {"ctr-hash1-serves": said_by(cluster)})
    assert view and (view.version, view.digest, view.swappable) == ("2", NEXT.digest, True)


def said_by(cluster: ApplyingCluster) -> dict[str, Any]:
    return cluster.objects["ConfigMap", "ctr-hash1-serves"]


async def test_pods_mount_what_changes_and_are_labelled_with_no_version(cluster: ApplyingCluster, run: Passes) -> None:
    await run([serving(SWAPPABLE)])
    template = cluster.objects["Deployment", "ctr-hash1"]["spec"]["template"]
    mounted = {each["name"]: each for each in template["spec"]["volumes"]}["viridian-revision"]
    assert mounted["configMap"]["name"] == "ctr-hash1-serves"
    assert names.ANNOTATION_VERSION not in template["metadata"]["annotations"]
    assert "immutable" not in said_by(cluster)
    assert cluster.objects["ConfigMap", "ctr-hash1"]["immutable"] is True


async def test_an_edit_of_what_pods_serve_is_taken_back_and_all_goes_with_the_revision(
    cluster: ApplyingCluster, run: Passes
) -> None:
    await run([serving(SWAPPABLE, golden=GOLDEN, golden_of=SWAPPABLE.digest)])
    said_by(cluster)["data"] |= {"revision.json": '{"version":"9","digest":"sha256:9"}', "golden.json": "edited"}
    edited = read_serves(said_by(cluster))
    assert edited and (edited.starting, edited.version, edited.digest) == ("sha256:9", "1", SWAPPABLE.digest)
    await run([serving(SWAPPABLE)])
    said = read_serves(said_by(cluster))
    assert said and said.starting == said.digest == SWAPPABLE.digest
    assert json.loads(said.golden[said.digest])["requests"] == []
    del cluster.objects["ConfigMap", "ctr-hash1-serves"]
    await run([serving(SWAPPABLE)])
    assert said_by(cluster)
    await run([DeleteRevision("ctr-hash1", "hash1")])
    assert not cluster.names("ConfigMap")


async def test_pods_are_told_what_to_load_and_to_serve(cluster: ApplyingCluster, run: Passes) -> None:
    await run([EnsureAdminSecret(), serving(SWAPPABLE, NEXT.digest, golden=OTHER_GOLDEN, golden_of=NEXT.digest)])
    async with admin_calls(cluster) as told:
        pods = ("127.0.0.1",)
        assert await run([StageVersion(NEXT, pods), FlipPods(NEXT, pods), UnstagePods(pods)]) == []
    paths, bodies = [path.rpartition("/")[2] for path, _, _ in told], [body for _, _, body in told]
    assert paths == ["stage", "flip", "unstage"]
    wanted = {"version": "2", "digest": NEXT.digest, "eventTime": NEXT.event_time, "golden": json.loads(OTHER_GOLDEN)}
    assert json.loads(bodies[0]) == wanted
    assert json.loads(bodies[1]) == {"digest": NEXT.digest}
