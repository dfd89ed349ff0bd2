"""A model that two pods train together, with the image that trains alone otherwise."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from loop.appending import PARTITIONS, Stream
from loop.following import Object
from loop.forwarding import forwarded
from loop.installing import SYSTEM
from loop.manifests import NAME, model_update, plugins
from loop.nodes import schedulable
from loop.registry import mlflow
from loop.serving import FIRST_EVENTS, UPDATE_LIMIT, last_number
from loop.space import Space
from viridian_demo.commands import run

RANK = "batch.kubernetes.io/job-completion-index"


@pytest.fixture(scope="module")
def claim(space: Space) -> Iterator[str]:
    """A volume claim that both pods can mount and any user may write to: the node's own ``/tmp``."""
    name = f"{space.name}-checkpoints"
    space.apply(_volume(space, name), _claim(name))
    yield name
    space.tools.kubectl("delete", "persistentvolume", name, "--wait=false", "--ignore-not-found")


@pytest.fixture(scope="module")
def trained(space: Space, stream: Stream, claim: str) -> dict[str, Any]:
    """The candidate of the first update, as status names it."""
    stream.append(FIRST_EVENTS)
    training = {"nodes": 2, "checkpoint": {"persistentVolumeClaim": {"claimName": claim}}}
    space.apply(plugins(), model_update(space.name, training=training))
    with space.follow(NAME) as following:
        state = following.wait(_has_ended_training, UPDATE_LIMIT, "two pods have trained a version")
    candidate: dict[str, Any] = state["status"]["update"].get("candidate") or {}
    assert candidate, state["status"]["update"]["message"]
    return candidate


def test_one_version_is_registered(space: Space, trained: dict[str, Any]) -> None:
    with mlflow(space.tools) as registry:
        (version,) = registry.versions(space.name)
    assert (version["version"], version["tags"]["viridian.digest"]) == (trained["version"], trained["digest"])


def test_the_pod_of_rank_0_alone_gives_the_result(space: Space, trained: dict[str, Any]) -> None:
    pods = space.list("pods", f"batch.kubernetes.io/job-name={NAME}-train-{last_number(space)}-a1")
    words = {pod["metadata"]["annotations"][RANK]: _words(pod) for pod in pods}
    assert words["0"]["version"] == trained["version"]
    assert words["1"] == {"task": "Train", "rank": 1}


def test_every_event_was_trained_on_once(space: Space, trained: dict[str, Any]) -> None:
    """The ledger in the manifest is that of the log, read again from outside."""
    with (
        forwarded(space.tools, SYSTEM, "service/viridian-redis", 6379) as redis,
        forwarded(space.tools, SYSTEM, "service/viridian-mlflow", 5000) as registry,
    ):
        stream = {"url": f"redis://127.0.0.1:{redis}/0", "stream": space.name, "partitions": PARTITIONS}
        command = [sys.executable, "-m", "viridian_trainer", "inspect", trained["version"], "--model", space.name]
        command += ["--registry", f"http://127.0.0.1:{registry}", "--source", json.dumps({"redisStream": stream})]
        said = run(*command, env={"TERM": "dumb"})
    assert "exactly once" in said


def test_the_version_is_served(space: Space, trained: dict[str, Any]) -> None:
    space.wait_for(f"modelupdate/{NAME}", "condition=Ready", UPDATE_LIMIT)
    assert space.status(NAME)["active"]["digest"] == trained["digest"]


def _has_ended_training(state: Object) -> bool:
    update = (state.get("status") or {}).get("update") or {}
    return "candidate" in update or update.get("phase") == "Failed"


def _words(pod: Object) -> dict[str, Any]:
    (status,) = pod["status"]["containerStatuses"]
    found: dict[str, Any] = json.loads(status["state"]["terminated"]["message"])
    return found


def _volume(space: Space, name: str) -> Object:
    """On one node, where both pods are placed thereby."""
    here = {"key": "kubernetes.io/hostname", "operator": "In", "values": [schedulable(space.tools)]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteMany"],
            "persistentVolumeReclaimPolicy": "Retain",
            "claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": space.name, "name": name},
            "hostPath": {"path": "/tmp"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}},
        },
    }


def _claim(name: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name},
        "spec": {
            "accessModes": ["ReadWriteMany"],
            "storageClassName": "",
            "volumeName": name,
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }
