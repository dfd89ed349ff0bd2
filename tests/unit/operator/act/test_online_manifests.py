"""What the operator gives an online trainer and pods that follow a chain, read as the reference images read it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from applying_cluster import OWNER, revision, spec

from viridian_model.chain.builder import Selection
from viridian_operator.act.manifests.deployment import deployment
from viridian_operator.act.manifests.online_trainer import online_trainer
from viridian_operator.act.manifests.pod import InvalidTemplate
from viridian_operator.act.manifests.revision import serves
from viridian_operator.api import names
from viridian_operator.api.spec import ModelUpdateSpec
from viridian_operator.api.version import ModelRef
from viridian_operator.decide.decision import EnsureOnlineTrainer
from viridian_server.revision import read_revision
from viridian_trainer.environment import OnlineInput, VersionRef, read_online

CHAIN = "ctr-a1b2c3d4-7-0123456789"
PARENT = ModelRef(version="1", digest=f"sha256:{1:064d}")
ACTION = EnsureOnlineTrainer(CHAIN, PARENT)
STORE: dict[str, Any] = {"url": "redis://redis:6379/1", "credentialsSecretRef": {"name": "chains"}}


def online(store: dict[str, Any] | None = None, **changes: Any) -> ModelUpdateSpec:
    return spec(strategy="Online", online={"store": store or STORE, **changes})


def pod_of(manifest: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = manifest["spec"]["template"]["spec"]
    return found


def environment(manifest: dict[str, Any]) -> dict[str, Any]:
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in pod_of(manifest)["containers"][0]["env"]}


def read_by_the_trainer(given: ModelUpdateSpec) -> OnlineInput:
    found = environment(online_trainer(given, OWNER, ACTION))
    return read_online({name: value for name, value in found.items() if isinstance(value, str)})


def test_the_trainer_reads_what_it_is_given() -> None:
    task = read_by_the_trainer(
        online(
            publishIntervalMilliseconds=100,
            deltas={"rows": 0.3, "denseEvery": 12, "encoding": "Int8"},
            anchors={"every": "2m", "events": 500},
            test={"margin": 0.01},
        )
    )
    assert (task.chain, task.model_name, task.store) == (CHAIN, "ctr", "redis://redis:6379/1")
    assert task.parent == VersionRef("1", PARENT.digest)
    settings = task.online
    assert (settings.publish_interval, settings.anchor_every, settings.anchor_events) == (0.1, 120.0, 500)
    assert settings.selection == Selection(0.3, 12, "int8")
    assert (settings.alpha, settings.margin) == (0.01, 0.01)
    assert task.port == 8080
    assert task.update.uid == OWNER.uid


def test_its_defaults_are_those_of_the_trainer() -> None:
    assert read_by_the_trainer(online()).online == type(read_by_the_trainer(online()).online)()


def test_one_pod_that_is_replaced_after_it_has_ended() -> None:
    manifest = online_trainer(online(), OWNER, ACTION)
    body, container = manifest["spec"], pod_of(manifest)["containers"][0]
    assert (manifest["metadata"]["name"], body["replicas"], body["strategy"]) == ("ctr-online", 1, {"type": "Recreate"})
    assert manifest["metadata"]["annotations"][names.ANNOTATION_CHAIN] == CHAIN
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert pod_of(manifest)["automountServiceAccountToken"] is False
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["envFrom"] == [{"secretRef": {"name": "mlflow"}}]


def test_credentials_come_from_secrets() -> None:
    found = environment(online_trainer(online(), OWNER, ACTION))
    references = {name: value["secretKeyRef"]["name"] for name, value in found.items() if isinstance(value, dict)}
    assert references == {
        "VIRIDIAN_STORE_USERNAME": "chains",
        "VIRIDIAN_STORE_PASSWORD": "chains",
        "VIRIDIAN_REDIS_USERNAME": "redis",
        "VIRIDIAN_REDIS_PASSWORD": "redis",
    }


def test_a_template_of_its_own_takes_the_place_of_that_of_training() -> None:
    own = {"spec": {"containers": [{"name": "online", "image": "online:1"}], "restartPolicy": "Never"}}
    pod = pod_of(online_trainer(online(template=own), OWNER, ACTION))
    assert [container["image"] for container in pod["containers"]] == ["online:1"]
    assert "restartPolicy" not in pod
    with pytest.raises(InvalidTemplate, match=r"spec\.online\.template"):
        online_trainer(online(template={"spec": {"containers": []}}), OWNER, ACTION)


@pytest.mark.parametrize("chain", [CHAIN, ""])
def test_only_pods_that_follow_a_chain_get_the_store(chain: str) -> None:
    found = environment(deployment(online(), OWNER, revision(chain=chain, swappable=True)))
    assert ("VIRIDIAN_STORE" in found) is bool(chain)


def test_a_volume_is_mounted_by_all() -> None:
    given = online({"persistentVolumeClaim": {"claimName": "chains"}})
    for manifest in (
        online_trainer(given, OWNER, ACTION),
        deployment(given, OWNER, revision(chain=CHAIN, swappable=True)),
    ):
        assert environment(manifest)["VIRIDIAN_STORE"] == "file:///var/lib/viridian/store"
        mounts = {each["mountPath"]: each["name"] for each in pod_of(manifest)["containers"][0]["volumeMounts"]}
        volume = next(v for v in pod_of(manifest)["volumes"] if v["name"] == mounts["/var/lib/viridian/store"])
        assert volume["persistentVolumeClaim"]["claimName"] == "chains"


def test_pods_read_which_chain_to_follow(tmp_path: Path) -> None:
    config_map = serves(online(), OWNER, revision(chain=CHAIN, swappable=True), "", {})
    for name in ("revision.json", "golden.json"):
        (tmp_path / name).write_text(config_map["data"][name])
    found = read_revision(tmp_path)
    assert (found.model, found.version, found.follow, found.chain) == ("ctr", "1", True, CHAIN)
    plain = serves(online(), OWNER, revision(swappable=True), "", {})
    assert "follow" not in json.loads(plain["data"]["revision.json"])
