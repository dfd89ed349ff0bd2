"""The CustomResourceDefinition, the examples and wrong manifests against a real API server."""

from __future__ import annotations

import copy
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from apiserver import ApiServer, binaries

from viridian_operator.api.spec import ModelUpdateSpec
from viridian_operator.api.status import (
    Attempts,
    Bake,
    Candidate,
    Champion,
    CheckResult,
    Colour,
    Condition,
    Evaluation,
    HistoryEntry,
    Intent,
    Kind,
    ModelUpdateStatus,
    Phase,
    PhaseRecord,
    Quarantined,
    Request,
    Revision,
    Trigger,
    Update,
    Window,
    read_status,
)

pytestmark = pytest.mark.api

ROOT = Path(__file__).resolve().parents[3]
WRONG = sorted((Path(__file__).parent / "wrong").glob("*.yaml"))
EXAMPLES = sorted(path for path in (ROOT / "examples").glob("*.yaml") if path.name != "namespace.yaml")
NAMESPACE = "crd-test"
NOW = datetime(2026, 11, 24, 12, 0, 0, 250000, UTC)

Manifest = dict[str, Any]


class Kubectl:
    """kubectl against one API server."""

    def __init__(self, server: ApiServer) -> None:
        path = os.pathsep.join([str(binaries()), os.environ["PATH"]])
        self._command = [str(shutil.which("kubectl", path=path)), f"--kubeconfig={server.kubeconfig}"]

    def run(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Whatever comes of it."""
        command = [*self._command, *arguments]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60)

    def __call__(self, *arguments: str, stdin: str | None = None) -> str:
        done = self.run(*arguments, stdin=stdin)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def apply(self, *manifests: Manifest, flags: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        """Apply in the namespace of these tests."""
        return self.run("apply", "-n", NAMESPACE, *flags, "-f", "-", stdin=yaml.safe_dump_all(manifests))

    def get(self, name: str, namespace: str = NAMESPACE) -> Manifest:
        """A ModelUpdate."""
        found: Manifest = json.loads(self("get", "-n", namespace, "modelupdate", name, "-o", "json"))
        return found


@pytest.fixture(scope="module")
def kubectl(apiserver: ApiServer) -> Kubectl:
    """kubectl with the CRD installed, by the plain apply that people use."""
    kubectl = Kubectl(apiserver)
    kubectl("apply", "-f", str(ROOT / "crds/modelupdates.yaml"))
    kubectl("wait", "--for=condition=Established", "crd/modelupdates.viridian.dev", "--timeout=30s")
    kubectl("apply", "-f", str(ROOT / "examples/namespace.yaml"))
    kubectl("apply", "-f", "-", stdin=f"{{apiVersion: v1, kind: Namespace, metadata: {{name: {NAMESPACE}}}}}")
    return kubectl


def minimal(name: str = "minimal") -> Manifest:
    def pod(container: str) -> Manifest:
        return {"spec": {"containers": [{"name": container, "image": f"viridian.local/{container}:dev"}]}}

    return {
        "apiVersion": "viridian.dev/v1alpha1",
        "kind": "ModelUpdate",
        "metadata": {"name": name},
        "spec": {
            "model": {"name": "ctr"},
            "registry": {"trackingURI": "http://mlflow:5000"},
            "trigger": {"newEvents": 1000},
            "data": {"source": {"redisStream": {"url": "redis://redis:6379/0", "stream": "clicks"}}},
            "training": {"template": pod("trainer")},
            "serving": {"template": pod("server")},
        },
    }


@pytest.fixture
def model_update(kubectl: Kubectl) -> Iterator[Callable[..., Manifest]]:
    """Creates ModelUpdates that go again with the test."""
    created: list[str] = []

    def create(name: str = "minimal", **spec: Any) -> Manifest:
        manifest = minimal(name)
        manifest["spec"] |= spec
        done = kubectl.apply(manifest)
        assert done.returncode == 0, done.stderr
        created.append(name)
        return kubectl.get(name)

    yield create
    for name in created:
        kubectl("delete", "-n", NAMESPACE, "modelupdate", name)


def test_the_schema_is_structural(kubectl: Kubectl) -> None:
    conditions = json.loads(kubectl("get", "crd", "modelupdates.viridian.dev", "-o", "json"))["status"]["conditions"]
    assert {c["type"]: c["status"] for c in conditions} == {"NamesAccepted": "True", "Established": "True"}


@pytest.mark.parametrize("path", WRONG, ids=lambda path: path.stem)
def test_wrong_manifests_are_refused_with_a_sentence(kubectl: Kubectl, path: Path) -> None:
    text = path.read_text()
    expected = text.splitlines()[0].removeprefix("# expect: ")
    done = kubectl.run("apply", "-n", NAMESPACE, "-f", str(path))
    assert done.returncode != 0
    assert expected in done.stderr.replace('\\"', '"')


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
@pytest.mark.parametrize("flags", [(), ("--server-side",)], ids=["client-side", "server-side"])
def test_examples_are_accepted_and_kept(kubectl: Kubectl, path: Path, flags: tuple[str, ...]) -> None:
    wanted = yaml.safe_load(path.read_text())
    kubectl("apply", *flags, "--warnings-as-errors", "-f", str(path))
    try:
        found = kubectl.get(wanted["metadata"]["name"], "recsys")
        assert ModelUpdateSpec.model_validate(found["spec"]) == ModelUpdateSpec.model_validate(wanted["spec"])
    finally:
        kubectl("delete", "-f", str(path))


def test_defaults_are_those_of_the_types(model_update: Callable[..., Manifest]) -> None:
    found = model_update()
    assert ModelUpdateSpec.model_validate(found["spec"]) == ModelUpdateSpec.model_validate(minimal()["spec"])
    assert found["spec"]["rollout"]["bake"]["duration"] == "10m"
    assert found["spec"]["rollout"]["healthChecks"] == [{"name": "ready", "readyPercent": 100}]
    assert found["spec"]["training"]["template"] == minimal()["spec"]["training"]["template"]
    assert found["status"] == {"observedGeneration": -1, "phase": "Idle"}


def test_settings_of_reference_images_are_free(model_update: Callable[..., Manifest]) -> None:
    serving = copy.deepcopy(minimal()["spec"]["serving"])
    serving["template"]["spec"]["containers"][0]["env"] = [{"name": "VIRIDIAN_LOG_LEVEL", "value": "DEBUG"}]
    assert model_update(serving=serving)["spec"]["serving"]["template"] == serving["template"]


@pytest.mark.parametrize(("short", "long"), [("90s", "1m30s"), ("59m", "1h"), ("23h", "1d"), ("1d", "24h")])
def test_durations_are_compared_by_length(model_update: Callable[..., Manifest], short: str, long: str) -> None:
    model_update(rollout={"bake": {"interval": short, "duration": long}})


IMMUTABLE = [
    ({"model": {"name": "other"}}, "model.name never changes"),
    ({"data": {"source": {"redisStream": {"stream": "other"}}}}, "stream and partitions never change"),
    ({"data": {"source": {"redisStream": {"partitions": 2}}}}, "stream and partitions never change"),
    ({"serving": {"services": {"active": "other"}}}, "names of the Services never change"),
    ({"serving": {"services": {"preview": "other"}}}, "names of the Services never change"),
]


@pytest.mark.parametrize(("change", "sentence"), IMMUTABLE)
def test_what_never_changes(
    kubectl: Kubectl, model_update: Callable[..., Manifest], change: Manifest, sentence: str
) -> None:
    model_update()
    patch = json.dumps({"spec": change})
    done = kubectl.run("patch", "-n", NAMESPACE, "mu", "minimal", "--type=merge", "-p", patch)
    assert done.returncode != 0
    assert sentence in done.stderr


CONTAINER = {"name": "smoke", "image": "smoke"}
SMOKE = {"spec": {"containers": [CONTAINER]}}
PROMETHEUS = {"url": "http://prometheus:9090", "query": "{{revision}}", "maxRatio": 2}
ACCEPTED_CHECKS = [
    {"readyPercent": 50, "interval": "1m", "failureLimit": 0, "consecutiveErrors": 0},
    {"latency": {"max": 20}},
    {"latency": {"path": "/score", "body": {"x": [1, {"y": 2}]}, "maxRatio": 1.5, "quantile": 1}},
    {"prometheus": PROMETHEUS},
    {"prometheus": PROMETHEUS | {"baseline": "BeforeSwitch", "minSamples": 5, "samplesQuery": "samples"}},
    {"job": {"template": SMOKE}},
]
REFUSED_CHECKS = [
    ({}, "give a health check one kind beside its name"),
    ({"latency": {"max": 20}, "job": {"template": SMOKE}}, "give a health check one kind beside its name"),
    ({"readyPercent": 50, "interval": "0s"}, "the duration must be longer than zero"),
    ({"readyPercent": 50, "failureLimit": -1}, "should be greater than or equal to 0"),
    ({"latency": {}}, "a latency check needs a limit: give max (in milliseconds)"),
    ({"latency": {"max": 0}}, "the limit must be above zero"),
    ({"latency": {"max": 5, "quantile": 99}}, "a quantile lies above 0 and is at most 1, e.g. 0.99"),
    ({"latency": {"max": 5, "body": {"x": 1}}}, "body is sent to path: give path, or leave both out"),
    ({"latency": {"max": 5, "path": "score"}}, "a path begins with /"),
    ({"prometheus": PROMETHEUS | {"maxRatio": 0}}, "the limit must be above zero"),
    ({"prometheus": PROMETHEUS | {"minSamples": 5}}, "minSamples needs samplesQuery"),
    (
        {"prometheus": {"url": "http://p", "query": "q", "max": 1, "baseline": "SameWindow"}},
        "baseline says what maxRatio compares with: give maxRatio",
    ),
    ({"job": {"template": SMOKE}, "failureLimit": 1}, "a job runs once in a bake and its end decides"),
    ({"job": {"template": SMOKE}, "interval": "1m"}, "a job runs once in a bake and its end decides"),
    ({"job": {"template": SMOKE, "deadline": "0m"}}, "the duration must be longer than zero"),
    ({"job": {"template": {"spec": {"containers": []}}}}, "the template needs at least one container"),
    ({"job": {"template": {"spec": SMOKE["spec"] | {"hostNetwork": True}}}}, "hostNetwork, hostPID and hostIPC"),
    (
        {"job": {"template": {"spec": SMOKE["spec"] | {"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}}}},
        "hostPath volumes are not allowed in templates",
    ),
    (
        {"job": {"template": {"spec": {"containers": [{**CONTAINER, "securityContext": {"privileged": True}}]}}}},
        "privileged containers are not allowed in templates",
    ),
    (
        {"job": {"template": {"spec": {"containers": [{**CONTAINER, "env": [{"name": "VIRIDIAN_DIGEST"}]}]}}}},
        "the operator sets this variable itself",
    ),
]


def with_check(kubectl: Kubectl, check: Manifest) -> subprocess.CompletedProcess[str]:
    manifest = minimal()
    manifest["spec"]["rollout"] = {"healthChecks": [{"name": "check", **check}]}
    return kubectl.apply(manifest, flags=("--dry-run=server", "--warnings-as-errors"))


@pytest.mark.parametrize("check", ACCEPTED_CHECKS)
def test_good_health_checks(kubectl: Kubectl, check: Manifest) -> None:
    done = with_check(kubectl, check)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("check", "sentence"), REFUSED_CHECKS)
def test_wrong_health_checks(kubectl: Kubectl, check: Manifest, sentence: str) -> None:
    done = with_check(kubectl, check)
    assert done.returncode != 0
    assert sentence in done.stderr


def test_everything_else_may_change(kubectl: Kubectl, model_update: Callable[..., Manifest]) -> None:
    model_update()
    source = {"redisStream": {"url": "redis://elsewhere:6379/1"}}
    patch = json.dumps({"spec": {"data": {"source": source}, "pin": {"version": 3, "reason": "an incident"}}})
    kubectl("patch", "-n", NAMESPACE, "mu", "minimal", "--type=merge", "-p", patch)


def full_status() -> ModelUpdateStatus:
    """A status with something in every part."""
    digest = "sha256:" + "ab" * 32
    revision = Revision(
        version="4", digest=digest, hash="a1", deployment="minimal-a1", colour=Colour.BLUE, event_time=1.5, since=NOW
    )
    window = Window(start={"0": "0@0-0"}, end={"0": "100@1-0"})
    trigger = Trigger(kind="NewEvents", detail="1000 new events", at=NOW)
    update = Update(
        number=5,
        kind=Kind.INCREMENTAL,
        trigger=trigger,
        phase=Phase.BAKING,
        started_at=NOW,
        phase_since=NOW,
        total_deadline=NOW,
        attempts=Attempts(number=2, infrastructure=1, disruption="Evicted"),
        window=window,
        candidate=Candidate(version="5", digest=digest, trained_to={"0": "90@1-0"}, holdout=window, run_id="r"),
        evaluation=Evaluation(verdict="Pass", reason="NonInferior", metrics={"candidate": {"auroc": 0.7}}),
        green=revision,
        intent=Intent(id="i", source="a1", target="b2", deadline=NOW),
        bake=Bake(
            started_at=NOW, deadline=NOW, results=[CheckResult(name="ready", outcome="Passed", value=1, checked_at=NOW)]
        ),
        phases=[PhaseRecord(phase=Phase.TRAINING, started_at=NOW, seconds=1.5)],
    )
    return ModelUpdateStatus(
        observed_generation=1,
        phase=Phase.BAKING,
        message="baking version 5",
        conditions=[
            Condition(
                type="Ready",
                status="True",
                observed_generation=1,
                last_transition_time=NOW,
                reason="Serving",
                message="version 4 serves",
            )
        ],
        active=revision,
        champion=Champion(version="4", digest=digest, watermark={"0": "100@1-0"}),
        update=update,
        quarantine=[Quarantined(digest=digest, version="2", reason="CrashLoop", update=2, at=NOW)],
        last_request=Request(text="run/7f3a", outcome="Accepted", at=NOW),
        history=[
            HistoryEntry(
                number=4,
                kind=Kind.FULL,
                phase=Phase.SUCCEEDED,
                reason="Promoted",
                trigger="FirstModel",
                started_at=NOW,
                finished_at=NOW,
            )
        ],
        replicas=3,
        selector="viridian.dev/model-update=minimal",
    )


@pytest.fixture
def with_status(kubectl: Kubectl, model_update: Callable[..., Manifest]) -> Manifest:
    """A ModelUpdate that bakes."""
    model_update()
    patch = json.dumps({"status": full_status().wire()})
    kubectl("patch", "-n", NAMESPACE, "mu", "minimal", "--subresource=status", "--type=merge", "-p", patch)
    return kubectl.get("minimal")


def test_status_comes_back_as_it_was_written(with_status: Manifest) -> None:
    assert read_status(with_status["status"]) == full_status()


def test_printer_columns(kubectl: Kubectl, with_status: Manifest) -> None:
    header, row = kubectl("get", "-n", NAMESPACE, "mu", "minimal").splitlines()
    assert header.split() == ["NAME", "READY", "PHASE", "ACTIVE", "CANDIDATE", "FRESHNESS", "AGE"]
    assert row.split()[:5] == ["minimal", "True", "Baking", "4", "5"]
    wide = kubectl("get", "-n", NAMESPACE, "mu", "minimal", "-o", "wide")
    assert "REASON" in wide
    assert "baking version 5" in wide


def test_scale_subresource(kubectl: Kubectl, with_status: Manifest) -> None:
    kubectl("scale", "-n", NAMESPACE, "mu/minimal", "--replicas=5")
    assert kubectl.get("minimal")["spec"]["serving"]["replicas"] == 5
    scale = json.loads(kubectl("get", "-n", NAMESPACE, "mu", "minimal", "--subresource=scale", "-o", "json"))
    assert scale["status"] == {"replicas": 3, "selector": "viridian.dev/model-update=minimal"}


def test_found_by_category_and_explained(kubectl: Kubectl, with_status: Manifest) -> None:
    assert "minimal" in kubectl("get", "-n", NAMESPACE, "viridian")
    assert "give" not in kubectl("explain", "mu.spec.strategy")
    assert "Online on every event" in " ".join(kubectl("explain", "mu.spec.strategy").split())


def test_two_managers_share_the_health_checks(kubectl: Kubectl, model_update: Callable[..., Manifest]) -> None:
    model_update()
    extra = minimal()
    extra["spec"] = {"rollout": {"healthChecks": [{"name": "restarts", "maxRestarts": 0}]}}
    done = kubectl.apply(extra, flags=("--server-side", "--field-manager=other"))
    assert done.returncode == 0, done.stderr
    names = {check["name"] for check in kubectl.get("minimal")["spec"]["rollout"]["healthChecks"]}
    assert names == {"ready", "restarts"}


WARN = "pod-security.kubernetes.io/warn=restricted"


def test_the_single_manifest_is_accepted(kubectl: Kubectl) -> None:
    path = str(ROOT / "deploy/viridian.yaml")
    documents = list(yaml.safe_load_all(Path(path).read_text()))
    assert documents[0]["kind"] == "Namespace"
    kubectl("apply", "-f", "-", stdin=yaml.safe_dump(documents[0]))
    kubectl("label", "--overwrite", "namespace", documents[0]["metadata"]["name"], WARN)
    kubectl("apply", "--dry-run=server", "--warnings-as-errors", "-f", path)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_templates_of_the_examples_are_restricted(kubectl: Kubectl, path: Path) -> None:
    kubectl("label", "--overwrite", "namespace", "recsys", WARN)
    spec = yaml.safe_load(path.read_text())["spec"]
    templates = {part: spec.get(part, {}).get("template") for part in ("training", "evaluation", "serving")}
    checks = spec.get("rollout", {}).get("healthChecks", [])
    templates |= {check["name"]: check["job"]["template"] for check in checks if "job" in check}
    templates["drift"] = spec.get("trigger", {}).get("drift", {}).get("template")
    for part, template in templates.items():
        if template:
            template.setdefault("metadata", {}).setdefault("labels", {})["app"] = part
            deployment = {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": part, "namespace": "recsys"},
                "spec": {"selector": {"matchLabels": {"app": part}}, "template": template},
            }
            flags = ("--dry-run=server", "--warnings-as-errors", "-f", "-")
            kubectl("create", *flags, stdin=yaml.safe_dump(deployment))
