"""Effects against a real API server: our manifests are accepted, and a second pass writes nothing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import aiohttp
import pytest
from apiserver import ApiServer

from viridian_operator.act.executor import Executor
from viridian_operator.act.manifests.owner import Owner
from viridian_operator.api import names
from viridian_operator.api.serves import read_serves
from viridian_operator.api.spec import ModelUpdateSpec
from viridian_operator.api.status import Colour, Kind, ModelUpdateStatus, Phase, Revision, Trigger, Update, Window
from viridian_operator.decide.decision import (
    Action,
    CreateCheckJob,
    CreateJob,
    DeleteRevision,
    EnsureAdminSecret,
    EnsureRevision,
    EnsureService,
)
from viridian_operator.kube.cluster import ApiCluster
from viridian_operator.kube.resources import CONFIG_MAP, DEPLOYMENT, JOB, SERVICE, Key, Manifest, Resource
from viridian_operator.observe.children import read_children
from viridian_operator.observe.deployments import deployment_view
from viridian_operator.observe.jobs import job_view
from viridian_operator.observe.needs import Needs
from viridian_operator.observe.times import EPOCH

pytestmark = pytest.mark.api

WINDOW = Window(start={"0": "0@0-0"}, end={"0": "100@5-0"})
#: everything that the server rewrites, drops or completes
TEMPLATE: dict[str, Any] = {
    "metadata": {"labels": {"team": "ads"}, "annotations": {}},
    "spec": {
        "hostNetwork": False,
        "terminationGracePeriodSeconds": 90,
        "imagePullSecrets": [{"name": "pull"}],
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
        "affinity": {
            "podAntiAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution": [
                    {
                        "weight": 1,
                        "podAffinityTerm": {
                            "topologyKey": "zone",
                            "labelSelector": {"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]},
                        },
                    }
                ]
            }
        },
        "initContainers": [{"name": "prepare", "image": "busybox", "command": ["true"], "args": []}],
        "containers": [
            {
                "name": "main",
                "image": "server:1",
                "env": [
                    {"name": "EMPTY", "value": ""},
                    {"name": "MEMORY", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": 1}}},
                    {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                ],
                "resources": {
                    "limits": {"cpu": 1, "memory": "1024Mi", "nvidia.com/gpu": 1},
                    "requests": {"cpu": "1000m", "memory": "0.5Gi"},
                },
                "volumeMounts": [
                    {"name": "scratch", "mountPath": "/scratch", "readOnly": False},
                    {"name": "mixed", "mountPath": "/mixed"},
                ],
                "ports": [{"containerPort": 9100, "name": "metrics"}],
                "stdin": False,
            },
            {
                "name": "sidecar",
                "image": "sidecar:1",
                "livenessProbe": {"httpGet": {"port": 1}, "initialDelaySeconds": 0},
            },
        ],
        "volumes": [
            {"name": "scratch", "emptyDir": {"sizeLimit": "1024Mi", "medium": ""}},
            {
                "name": "mixed",
                "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}, {"secret": {"name": "s"}}]},
            },
        ],
    },
}


def spec(**changes: Any) -> ModelUpdateSpec:
    claim = {"persistentVolumeClaim": {"claimName": "claim"}}
    fields: dict[str, Any] = {
        "model": {"name": "ctr"},
        "registry": {"trackingURI": "http://mlflow:5000", "credentialsSecretRef": {"name": "mlflow"}},
        "training": {"nodes": 2, "checkpoint": claim, "template": TEMPLATE},
        "serving": {"replicas": 2, "store": claim, "template": TEMPLATE},
    }
    return ModelUpdateSpec.model_validate(fields | changes)


def revision(number: int) -> Revision:
    return Revision(
        version=str(number),
        digest=f"sha256:{number}",
        hash=f"h{number}",
        deployment=f"ctr-h{number}",
        colour=Colour.BLUE,
    )


class Pass:
    """Reads the children and executes actions; tells what was written."""

    def __init__(self, cluster: ApiCluster, apiserver: ApiServer, owner: Owner) -> None:
        self.cluster, self.apiserver, self.owner = cluster, apiserver, owner
        self.writes: list[str] = []

    async def __call__(self, actions: Iterable[Action], chosen: ModelUpdateSpec | None = None) -> list[str]:
        self.writes = []
        wanted = chosen or spec()
        key = Key(self.owner.namespace, self.owner.name)
        raw = await read_children(self.cluster, key, wanted, ModelUpdateStatus(), Needs(jobs=True))
        async with aiohttp.ClientSession() as session:
            return await Executor(_Counting(self.cluster, self.writes), session).execute(  # type: ignore[arg-type]
                actions, spec=wanted, owner=self.owner, raw=raw, registry=_no_registry
            )


class _Counting:
    """The client, with its writes noted."""

    def __init__(self, cluster: ApiCluster, writes: list[str]) -> None:
        self._cluster, self._writes = cluster, writes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cluster, name)

    async def apply(self, obj: Manifest) -> Manifest:
        self._writes.append(f"{obj['kind']} {obj['metadata']['name']}")
        return await self._cluster.apply(obj)


async def _no_registry() -> Any:
    raise AssertionError("nothing here needs the registry")


@pytest.fixture
async def run(cluster: ApiCluster, apiserver: ApiServer, namespace: str) -> Pass:
    body = {
        "apiVersion": "viridian.dev/v1alpha1",
        "kind": "ModelUpdate",
        "metadata": {"name": "ctr", "namespace": namespace},
        "spec": {
            "model": {"name": "ctr"},
            "registry": {"trackingURI": "http://mlflow:5000"},
            "strategy": "Registry",
            "follow": {"alias": "challenger"},
            "suspend": True,
            "serving": {"template": {"spec": {"containers": [{"name": "server", "image": "server:1"}]}}},
        },
    }
    return Pass(cluster, apiserver, Owner.of(await cluster.create(body)))


SERVE = (
    EnsureAdminSecret(),
    EnsureRevision(revision(1), "active", 2),
    EnsureService("ctr", "active", "h1"),
    EnsureService("ctr-preview", "preview", "h1"),
)


async def _version(run: Pass, kind: Resource, name: str) -> str:
    found = await run.cluster.get(kind, run.owner.namespace, name)
    return str(found["metadata"]["resourceVersion"])


async def test_a_second_pass_writes_nothing(run: Pass) -> None:
    assert await run(SERVE) == []
    assert len(run.writes) == 6
    assert await run(SERVE) == []
    assert run.writes == []


async def test_a_switch_is_one_write_of_an_exact_selector(run: Pass) -> None:
    await run(SERVE)
    await run.cluster.patch(SERVICE, run.owner.namespace, "ctr", {"spec": {"selector": {"edited": "by-hand"}}})
    assert await run([EnsureService("ctr", "active", "h2")]) == []
    assert run.writes == ["Service ctr"]
    service = await run.cluster.get(SERVICE, run.owner.namespace, "ctr")
    assert service["spec"]["selector"] == {names.MODEL_UPDATE: "ctr", names.REVISION: "h2"}


async def test_scaling_does_not_touch_the_pod_template(run: Pass) -> None:
    await run(SERVE)
    before = await run.cluster.get(DEPLOYMENT, run.owner.namespace, "ctr-h1")
    assert await run([EnsureRevision(revision(1), "previous", 1)]) == []
    after = await run.cluster.get(DEPLOYMENT, run.owner.namespace, "ctr-h1")
    assert after["spec"]["replicas"] == 1
    assert after["metadata"]["labels"][names.ROLE] == "previous"
    assert after["spec"]["template"] == before["spec"]["template"]


async def test_a_deployment_that_lost_its_record_is_not_changed(run: Pass) -> None:
    await run(SERVE)
    generation = (await run.cluster.get(DEPLOYMENT, run.owner.namespace, "ctr-h1"))["metadata"]["generation"]
    await run.cluster.delete(CONFIG_MAP, run.owner.namespace, "ctr-h1")
    assert (
        await run(
            SERVE, spec(serving={"replicas": 2, "template": {"spec": {"containers": [{"name": "x", "image": "y"}]}}})
        )
        == []
    )
    assert (await run.cluster.get(DEPLOYMENT, run.owner.namespace, "ctr-h1"))["metadata"]["generation"] == generation
    assert await run(SERVE) == []
    assert run.writes == []


async def test_which_version_pods_serve_changes_and_their_deployment_does_not(run: Pass) -> None:
    old = revision(1).but(swappable=True, graph="g1")
    new = old.but(version="2", digest="sha256:2")
    serving = (EnsureAdminSecret(), EnsureRevision(old, "active", 2), EnsureService("ctr", "active", "h1"))
    assert await run(serving) == []
    assert await run(serving) == []
    assert run.writes == []
    before = await run.cluster.get(DEPLOYMENT, run.owner.namespace, "ctr-h1")
    flipped = EnsureRevision(new, "active", 2, standby=(old.digest,))
    assert await run([flipped]) == []
    assert run.writes == ["ConfigMap ctr-h1-serves", "Deployment ctr-h1"]
    after = await run.cluster.get(DEPLOYMENT, run.owner.namespace, "ctr-h1")
    assert after["spec"]["template"] == before["spec"]["template"], "its pods would be replaced"
    view = deployment_view(after, {"ctr-h1-serves": await _serves(run)})
    assert view is not None
    assert (view.version, view.digest, view.serves and view.serves.starting) == ("2", "sha256:2", "sha256:2")
    assert await run([flipped]) == []
    assert run.writes == []
    edit = {"data": {"revision.json": '{"model":"ctr","version":"9","digest":"sha256:9"}'}}
    await run.cluster.patch(CONFIG_MAP, run.owner.namespace, "ctr-h1-serves", edit)
    assert await run([flipped]) == []
    assert run.writes == ["ConfigMap ctr-h1-serves"]
    said = read_serves(await _serves(run))
    assert said is not None and said.starting == "sha256:2"


async def _serves(run: Pass) -> Manifest:
    found: Manifest = await run.cluster.get(CONFIG_MAP, run.owner.namespace, "ctr-h1-serves")
    return found


async def test_owner_references_go_with_retain_and_come_back(run: Pass) -> None:
    await run(SERVE)
    for policy, owned in (("Retain", False), ("Delete", True)):
        assert await run(SERVE, spec(deletionPolicy=policy)) == []
        assert len(run.writes) == 6
        for kind, name in ((DEPLOYMENT, "ctr-h1"), (SERVICE, "ctr")):
            found = await run.cluster.get(kind, run.owner.namespace, name)
            assert bool(found["metadata"].get("ownerReferences")) is owned
        assert await run(SERVE, spec(deletionPolicy=policy)) == []
        assert run.writes == []


def update(phase: Phase) -> Update:
    return Update(
        number=7,
        kind=Kind.FULL,
        trigger=Trigger(kind="Schedule", at=EPOCH),
        phase=phase,
        started_at=EPOCH,
        phase_since=EPOCH,
        window=WINDOW,
    )


async def test_the_job_of_a_health_check_is_accepted_and_created_once(run: Pass) -> None:
    checked = spec(rollout={"healthChecks": [{"name": "smoke", "job": {"template": TEMPLATE}}]})
    create, name = CreateCheckJob("smoke", update(Phase.BAKING), revision(2), None), names.check_job("ctr", "smoke", 7)
    assert await run([create], checked) == []
    version = await _version(run, JOB, name)
    assert await run([create], checked) == []
    assert await _version(run, JOB, name) == version
    found = await run.cluster.get(JOB, run.owner.namespace, name)
    view = job_view(found, ())
    assert view is not None
    assert (view.task, view.number, view.name) == ("check", 7, name)
    assert found["spec"]["template"]["spec"]["automountServiceAccountToken"] is False


async def test_a_gang_is_accepted_as_it_is(run: Pass) -> None:
    create = CreateJob("train", update(Phase.QUEUED), WINDOW, None)
    assert await run([create]) == []
    version = await _version(run, JOB, "ctr-train-7-a1")
    assert await run([create]) == []
    assert await _version(run, JOB, "ctr-train-7-a1") == version


async def test_a_revision_goes_with_everything(run: Pass) -> None:
    await run(SERVE)
    assert "Service ctr" in (await run([DeleteRevision("ctr-h1", "h1")]))[0]
    assert await run([EnsureRevision(revision(2), "active", 1), EnsureService("ctr", "active", "h2")]) == []
    assert await run([EnsureService("ctr-preview", "preview", "h2"), DeleteRevision("ctr-h1", "h1")]) == []
    left = await run.cluster.list(DEPLOYMENT, run.owner.namespace, {names.MODEL_UPDATE: "ctr"})
    assert [each["metadata"]["name"] for each in left] == ["ctr-h2"]
