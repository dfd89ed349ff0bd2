"""What the chart renders, with every Helm at hand."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from viridian_operator.api import crd
from viridian_operator.runtime.settings import Settings

from .conftest import CHART, ROOT, Helm, Manifest, Render, values_files

WORKLOADS = {"operator": (), "mlflow": ("--set=mlflow.enabled=true",), "redis": ("--set=redis.enabled=true",)}


def of_kind(objects: list[Manifest], kind: str) -> list[Manifest]:
    return [each for each in objects if each["kind"] == kind]


def deployment(objects: list[Manifest], component: str) -> Manifest:
    (found,) = [
        each
        for each in of_kind(objects, "Deployment")
        if each["metadata"]["labels"]["app.kubernetes.io/component"] == component
    ]
    return found


@pytest.mark.parametrize("path", values_files(), ids=lambda path: path.stem)
def test_lint(helm: Helm, path: Path) -> None:
    done = helm.run("lint", str(CHART), "--strict", "--values", str(path))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", values_files(), ids=lambda path: path.stem)
def test_objects_are_unique_and_labelled(render: Render, path: Path) -> None:
    objects = render("--values", str(path))
    keys = [(each["kind"], each["metadata"].get("namespace"), each["metadata"]["name"]) for each in objects]
    assert len(keys) == len(set(keys))
    for each in objects:
        if each["metadata"]["name"] in ("viridian-extra", "viridian-text"):
            continue
        labels = each["metadata"]["labels"]
        parts = {"name", "instance", "component", "version", "part-of", "managed-by"}
        assert {f"app.kubernetes.io/{part}" for part in parts} | {"helm.sh/chart"} <= labels.keys()


@pytest.mark.parametrize("component", WORKLOADS)
def test_selectors_hold_only_what_never_changes(render: Render, component: str) -> None:
    objects = render(*WORKLOADS[component])
    wanted = {
        "app.kubernetes.io/name": "viridian",
        "app.kubernetes.io/instance": "viridian",
        "app.kubernetes.io/component": component,
    }
    found = deployment(objects, component)
    assert found["spec"]["selector"]["matchLabels"] == wanted
    assert wanted.items() <= found["spec"]["template"]["metadata"]["labels"].items()
    selectors = [each["spec"]["selector"] for each in of_kind(objects, "Service")]
    assert wanted in selectors


@pytest.mark.parametrize("component", WORKLOADS)
def test_pods_are_restricted(render: Render, component: str) -> None:
    pod = deployment(render(*WORKLOADS[component]), component)["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 65532
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
    assert all({"emptyDir", "persistentVolumeClaim"} & volume.keys() for volume in pod["volumes"])
    assert pod["enableServiceLinks"] is False
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"requests", "limits"} <= container["resources"].keys()
        assert all("hostPort" not in port for port in container["ports"])


def test_only_the_operator_has_a_token(render: Render) -> None:
    objects = render("--set=mlflow.enabled=true,redis.enabled=true")
    tokens = {
        component: deployment(objects, component)["spec"]["template"]["spec"]["automountServiceAccountToken"]
        for component in WORKLOADS
    }
    assert tokens == {"operator": True, "mlflow": False, "redis": False}
    (account,) = of_kind(objects, "ServiceAccount")
    assert account["automountServiceAccountToken"] is False


def test_operator_container(render: Render) -> None:
    arguments = ("--set=extraArgs={--log-level,DEBUG}", "--set=settings.strictX509=false,settings.workers=4")
    pod = deployment(render(*arguments), "operator")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["args"] == ["run", "--log-level", "DEBUG"]
    env = {
        each["name"]: each.get("value") or each["valueFrom"]["fieldRef"]["fieldPath"]
        for each in container["env"]
        if each.get("value") != ""
    }
    assert env == {
        "POD_NAME": "metadata.name",
        "POD_NAMESPACE": "metadata.namespace",
        "VIRIDIAN_STRICT_X509": "false",
        "VIRIDIAN_WORKERS": "4",
    }
    assert container["ports"] == [{"name": "metrics", "containerPort": 8080}]
    assert container["livenessProbe"]["httpGet"] == {"path": "/livez", "port": "metrics"}
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "metrics"}


WEBHOOK = "--set=webhook.enabled=true,webhook.secretRef.name=hook"


def test_webhooks_are_off_and_need_a_secret(helm: Helm, render: Render) -> None:
    assert not [each for each in of_kind(render(), "Service") if each["metadata"]["name"].endswith("-webhook")]
    done = helm.run("template", str(CHART), "--set=webhook.enabled=true")
    assert "webhook.enabled needs webhook.secretRef.name" in done.stderr


def test_webhooks_reach_the_operator_alone_and_are_signed_with_the_secret(render: Render) -> None:
    peer = "--set=networkPolicy.enabled=true,webhook.from[0].podSelector.matchLabels.app=mlflow"
    objects = render(WEBHOOK, peer, "--set=mlflow.enabled=true")
    (service,) = [each for each in of_kind(objects, "Service") if each["metadata"]["name"] == "viridian-webhook"]
    found = deployment(objects, "operator")["spec"]
    assert service["spec"]["selector"] == found["selector"]["matchLabels"]
    assert service["spec"]["ports"] == [{"name": "webhook", "port": 8081, "targetPort": "webhook"}]
    pod = found["template"]["spec"]
    (container,) = pod["containers"]
    port = Settings.model_fields["webhook_port"].default
    assert {"name": "webhook", "containerPort": port} in container["ports"]
    (mount,) = [each for each in container["volumeMounts"] if each["name"] == "webhook"]
    file = {"name": "VIRIDIAN_WEBHOOK_SECRET_FILE", "value": f"{mount['mountPath']}/secret"}
    assert file in container["env"]
    (volume,) = [each for each in pod["volumes"] if each["name"] == "webhook"]
    assert volume["secret"] == {"secretName": "hook", "items": [{"key": "secret", "path": "secret"}]}
    (policy,) = of_kind(objects, "NetworkPolicy")
    rules = {rule["ports"][0]["port"]: rule.get("from") for rule in policy["spec"]["ingress"]}
    assert rules == {"metrics": None, "webhook": [{"podSelector": {"matchLabels": {"app": "mlflow"}}}]}
    names = {each["name"] for each in deployment(objects, "mlflow")["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert {"MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS", "MLFLOW_WEBHOOK_ALLOWED_SCHEMES"} <= names


def test_every_setting_of_the_operator_can_be_set() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    known = {re.sub("([A-Z])", r"_\1", name).lower() for name in schema["properties"]["settings"]["properties"]}
    elsewhere = {"namespaces", "kubeconfig", "identity", "lease_namespace", "probe_port"}
    elsewhere |= {"webhook_secret_file", "webhook_port"}
    assert known == Settings.model_fields.keys() - elsewhere


@pytest.mark.parametrize(
    ("values", "image"),
    [
        ((), "viridian.local/operator:0.1.0"),
        (("image.tag=dev",), "viridian.local/operator:dev"),
        (("image.tag=dev", "image.digest=sha256:" + "0" * 64), "viridian.local/operator@sha256:" + "0" * 64),
        (("global.imageRegistry=mirror:5000", "image.tag=dev"), "mirror:5000/operator:dev"),
        (("global.imageRegistry=mirror:5000", "image.repository=team/operator"), "mirror:5000/team/operator:0.1.0"),
    ],
)
def test_image(render: Render, values: tuple[str, ...], image: str) -> None:
    objects = render(*(f"--set={value}" for value in values))
    assert deployment(objects, "operator")["spec"]["template"]["spec"]["containers"][0]["image"] == image


def test_replicas_are_spread_and_budgeted(render: Render) -> None:
    pod = deployment(render(), "operator")["spec"]["template"]["spec"]
    (spread,) = pod["topologySpreadConstraints"]
    assert spread["matchLabelKeys"] == ["pod-template-hash"]
    assert of_kind(render(), "PodDisruptionBudget")
    assert not of_kind(render("--set=replicaCount=1"), "PodDisruptionBudget")


def test_crd_is_the_generated_one_and_kept(render: Render) -> None:
    (found,) = of_kind(render(), "CustomResourceDefinition")
    assert found["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert found["spec"] == crd.definition()["spec"]
    (free,) = of_kind(render("--set=crds.keep=false"), "CustomResourceDefinition")
    assert "annotations" not in free["metadata"]
    assert not of_kind(render("--set=crds.enabled=false"), "CustomResourceDefinition")


def test_mlflow_answers_to_its_own_names(render: Render) -> None:
    objects = render("--set=mlflow.enabled=true", "--set=mlflow.allowedHosts={mlflow.example.com}")
    found = deployment(objects, "mlflow")
    (container,) = found["spec"]["template"]["spec"]["containers"]
    assert found["spec"]["strategy"] == {"type": "Recreate"}
    (hosts,) = [each for each in container["args"] if each.startswith("--allowed-hosts=")]
    for host in ("viridian-mlflow", "viridian-mlflow.viridian-system:*", "mlflow.example.com", "localhost:*"):
        assert host in hosts.removeprefix("--allowed-hosts=").split(",")
    assert {"name": "MLFLOW_DISABLE_TELEMETRY", "value": "true"} in container["env"]


@pytest.mark.parametrize("part", ["mlflow", "redis"])
def test_files_of_trial_parts(render: Render, part: str) -> None:
    def volume(*values: str) -> tuple[Any, int]:
        objects = render(f"--set={part}.enabled=true", *(f"--set={part}.persistence.{value}" for value in values))
        volumes = deployment(objects, part)["spec"]["template"]["spec"]["volumes"]
        (data,) = [each for each in volumes if each["name"] == "data"]
        return data, len(of_kind(objects, "PersistentVolumeClaim"))

    assert volume() == ({"name": "data", "emptyDir": {}}, 0)
    own = {"name": "data", "persistentVolumeClaim": {"claimName": f"viridian-{part}"}}
    assert volume("enabled=true") == (own, 1)
    other = {"name": "data", "persistentVolumeClaim": {"claimName": "mine"}}
    assert volume("existingClaim=mine") == (other, 0)


MONITORS = "--set=serviceMonitor.enabled=true,prometheusRule.enabled=true"


def test_monitors_wait_for_the_prometheus_operator(helm: Helm, render: Render) -> None:
    kinds = ("ServiceMonitor", "PrometheusRule")
    assert not any(of_kind(render(MONITORS), kind) for kind in kinds)
    known = render(MONITORS, "--api-versions=monitoring.coreos.com/v1")
    assert all(of_kind(known, kind) for kind in kinds)
    always = render(MONITORS, "--set=serviceMonitor.renderMode=alwaysRender")
    assert of_kind(always, "ServiceMonitor")
    done = helm.run("template", str(CHART), MONITORS, "--set=serviceMonitor.renderMode=failIfMissing")
    assert "install the Prometheus operator, or set renderMode to skipIfMissing" in done.stderr


def test_alerts_can_be_left_out_and_added(render: Render) -> None:
    production = render("--values", str(CHART / "ci/production-values.yaml"))
    (rule,) = of_kind(production, "PrometheusRule")
    alerts = {each["alert"]: each for each in rule["spec"]["groups"][0]["rules"]}
    assert {"ViridianOperatorDown", "ViridianNoLeader", "ModelUpdateStalled"} <= alerts.keys()
    assert all("@" not in each["expr"] for each in alerts.values())
    fewer = render(
        MONITORS, "--api-versions=monitoring.coreos.com/v1", "--set=prometheusRule.excludeRules={ViridianNoLeader}"
    )
    (rule,) = of_kind(fewer, "PrometheusRule")
    assert "ViridianNoLeader" not in {each["alert"] for each in rule["spec"]["groups"][0]["rules"]}


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ("replicaCunt=3", "replicaCunt"),
        ("image.tags=dev", "tags"),
        ("image.digest=latest", "digest"),
        ("settings.logLevl=DEBUG", "logLevl"),
        ("settings.logLevel=loud", "logLevel"),
        ("mlflow.persistance.enabled=true", "persistance"),
        ("serviceMonitor.renderMode=sometimes", "renderMode"),
        ("scope.namespaces=recsys", "namespaces"),
    ],
)
def test_typing_errors_are_refused(helm: Helm, value: str, named: str) -> None:
    done = helm.run("template", str(CHART), f"--set={value}")
    assert done.returncode != 0
    assert named in done.stderr


def test_global_values_of_parent_charts_are_allowed(render: Render) -> None:
    assert render("--set=global.somebody.else=true")


def test_nothing_differs_from_one_rendering_to_the_next() -> None:
    text = "\n".join(path.read_text() for path in (CHART / "templates").iterdir())
    assert not re.search(r"\b(lookup|rand\w+|genCA|genSelfSignedCert|now|uuidv4)\b", text)
    assert "helm.sh/hook" not in text


def test_every_value_is_in_the_readme_and_the_schema() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    readme = (CHART / "README.md").read_text()
    assert values.keys() == schema["properties"].keys()
    assert [name for name in values if f"`{name}" not in readme] == []


def test_the_single_manifest_is_fresh(helm: Helm) -> None:
    text = (ROOT / "charts/generate.py").read_text()
    generate: dict[str, Any] = {"__name__": "generate", "__file__": str(ROOT / "charts/generate.py")}
    exec(compile(text, "generate.py", "exec"), generate)
    assert (ROOT / "deploy/viridian.yaml").read_text() == generate["manifest"](helm.binary)
