"""What serves keeps the serving contract; user's choices win where they make one."""

from __future__ import annotations

import base64
import json
from typing import Any

from applying_cluster import OWNER, revision, spec

from viridian_operator.act.manifests.deployment import deployment
from viridian_operator.act.manifests.revision import disruption_budget, record, record_data, recorded_deployment, sized
from viridian_operator.act.manifests.secret import admin_secret, new_token, token_of
from viridian_operator.act.manifests.service import service
from viridian_operator.api import names
from viridian_operator.decide.decision import EnsureService


def serving(container: dict[str, Any] | None = None, **changes: Any) -> Any:
    template = {"spec": {"containers": [{"name": "server", "image": "server:1", **(container or {})}]}}
    return spec(serving={"template": template, **changes})


def container_of(manifest: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = manifest["spec"]["template"]["spec"]["containers"][0]
    return found


def test_a_deployment_says_everything_that_a_lost_status_would_need() -> None:
    manifest = deployment(spec(), OWNER, revision())
    meta = manifest["metadata"]
    assert meta["labels"][names.REVISION] == "hash1"
    assert meta["labels"][names.COLOUR] == "blue"
    assert meta["annotations"][names.ANNOTATION_VERSION] == "1"
    assert meta["annotations"][names.ANNOTATION_DIGEST] == revision().digest
    assert float(meta["annotations"][names.ANNOTATION_EVENT_TIME]) == 1732453000.5
    assert manifest["spec"]["selector"]["matchLabels"] == {names.MODEL_UPDATE: "ctr", names.REVISION: "hash1"}
    assert manifest["spec"]["selector"]["matchLabels"].items() <= (
        manifest["spec"]["template"]["metadata"]["labels"].items()
    )
    assert "replicas" not in manifest["spec"]


def test_the_serving_contract() -> None:
    manifest = deployment(serving(port=9000), OWNER, revision())
    container, pod = container_of(manifest), manifest["spec"]["template"]["spec"]
    env = {each["name"]: each["value"] for each in container["env"]}
    assert env["VIRIDIAN_PORT"] == "9000"
    assert env["VIRIDIAN_BUNDLE_STORE"] == "/var/lib/viridian/bundles"
    assert container["envFrom"] == [{"secretRef": {"name": "mlflow"}}]
    paths = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert paths == {"/etc/viridian/revision", "/etc/viridian/admin", "/var/lib/viridian/bundles", "/tmp"}
    assert container["readinessProbe"]["httpGet"] == {"path": "/v2/health/ready", "port": 9000}
    assert container["lifecycle"]["preStop"]["sleep"]["seconds"] >= 5
    assert pod["terminationGracePeriodSeconds"] == 60
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["topologySpreadConstraints"][0]["matchLabelKeys"] == ["pod-template-hash"]


def test_users_probes_ports_and_shutdown_stay() -> None:
    own = {
        "readinessProbe": {"tcpSocket": {"port": 8080}},
        "lifecycle": {"preStop": {"exec": {"command": ["drain"]}}},
        "ports": [{"containerPort": 8080, "name": "mine"}],
    }
    container = container_of(deployment(serving(own), OWNER, revision()))
    assert container["readinessProbe"] == own["readinessProbe"]
    assert container["lifecycle"] == own["lifecycle"]
    assert container["ports"] == own["ports"]


def test_the_record_holds_the_deployment_without_what_may_change() -> None:
    rendered = deployment(spec(), OWNER, revision())
    data = record_data(spec(), revision(), rendered, "")
    config_map = record(spec(), OWNER, revision(), data)
    assert config_map["immutable"] is True
    assert json.loads(data["revision.json"]) == {
        "model": "ctr",
        "version": "1",
        "digest": revision().digest,
        "eventTime": 1732453000.5,
    }
    assert json.loads(data["golden.json"])["requests"] == []
    assert recorded_deployment(config_map) == rendered
    full = sized(rendered, spec(), OWNER, replicas=3, role="active")
    assert full["spec"]["replicas"] == 3
    assert full["metadata"]["labels"][names.ROLE] == "active"
    assert "replicas" not in rendered["spec"]


def test_retain_leaves_what_serves_behind() -> None:
    for policy, owned in (("Delete", True), ("Retain", False)):
        chosen = spec(deletionPolicy=policy)
        manifests = [
            record(chosen, OWNER, revision(), {}),
            sized(deployment(chosen, OWNER, revision()), chosen, OWNER, replicas=1, role="active"),
            disruption_budget(chosen, OWNER, revision()),
            service(chosen, OWNER, EnsureService("ctr", "active", "hash1"), 8080),
            admin_secret(chosen, OWNER, "t"),
        ]
        assert {"ownerReferences" in each["metadata"] for each in manifests} == {owned}


def test_a_service_selects_exactly_one_revision() -> None:
    manifest = service(spec(), OWNER, EnsureService("ctr", "active", "hash2"), 9000)
    assert manifest["spec"]["selector"] == {names.MODEL_UPDATE: "ctr", names.REVISION: "hash2"}
    assert manifest["spec"]["ports"] == [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": 9000}]
    assert manifest["metadata"]["labels"][names.MODEL_UPDATE] == "ctr"


def test_tokens_are_long_and_never_the_same() -> None:
    token = new_token()
    assert len(base64.urlsafe_b64decode(token + "=")) == 32
    assert token_of(admin_secret(spec(), OWNER, token)) == token != new_token()
