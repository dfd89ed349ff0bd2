"""A model that two pods train together, with the image that trains alone otherwise; one of them is killed midway."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from loop.appending import Stream
from loop.containers import kill_container
from loop.following import Object
from loop.manifests import NAME, model_update, plugins
from loop.provenance import inspected, repeated
from loop.registry import mlflow
from loop.serving import FIRST_EVENTS, UPDATE_LIMIT, last_number
from loop.space import Space
from loop.volumes import shared_claim
from loop.waiting import until

RANK = "batch.kubernetes.io/job-completion-index"
#: many steps, and a checkpoint after every few: there is time to kill one in the midst
CONFIG = {"batchSize": 4, "checkpointEvents": 80}


@pytest.fixture(scope="module")
def claim(space: Space) -> Iterator[str]:
    with shared_claim(space) as name:
        yield name


@pytest.fixture(scope="module")
def trained(space: Space, stream: Stream, claim: str) -> dict[str, Any]:
    """The candidate of the first update as status names it, and its ``attempts``: rank 1 was killed in the first."""
    stream.append(FIRST_EVENTS)
    checkpoint = {"persistentVolumeClaim": {"claimName": claim}}
    training = {"nodes": 2, "checkpoint": checkpoint, "config": CONFIG}
    space.apply(plugins(), model_update(space.name, training=training))
    with space.follow(NAME) as following:
        state = following.wait(_trains, UPDATE_LIMIT, "two pods that train")
        (pod,) = [pod for pod in _pods(space, 1) if pod["metadata"]["annotations"][RANK] == "1"]
        uid = state["metadata"]["uid"]
        until(lambda: _checkpoints(uid), UPDATE_LIMIT, "a checkpoint")
        assert kill_container(pod), "it had ended before"
        state = following.wait(_is_tried_again, UPDATE_LIMIT, "another attempt")
        attempts = state["status"]["update"]["attempts"]
        state = following.wait(_has_ended_training, UPDATE_LIMIT, "two pods have trained a version")
    candidate: dict[str, Any] = state["status"]["update"].get("candidate") or {}
    assert candidate, state["status"]["update"]["message"]
    return {**candidate, "attempts": attempts}


def test_a_killed_rank_is_no_failure_of_the_code(trained: dict[str, Any]) -> None:
    attempts = trained["attempts"]
    assert (attempts["number"], attempts["infrastructure"], attempts.get("code", 0)) == (2, 1, 0)


def test_one_version_is_registered(space: Space, trained: dict[str, Any]) -> None:
    with mlflow(space.tools) as registry:
        (version,) = registry.versions(space.name)
    assert (version["version"], version["tags"]["viridian.digest"]) == (trained["version"], trained["digest"])


def test_the_pod_of_rank_0_alone_gives_the_result(space: Space, trained: dict[str, Any]) -> None:
    words = {pod["metadata"]["annotations"][RANK]: _words(pod) for pod in _pods(space, 2)}
    assert words["0"]["version"] == trained["version"]
    assert words["1"] == {"task": "Train", "rank": 1}


def test_every_event_was_trained_on_once(space: Space, trained: dict[str, Any]) -> None:
    """The ledger in the manifest is that of the log, read again from outside."""
    assert "exactly once" in inspected(space, trained["version"])


def test_undisturbed_the_weights_are_the_same(space: Space, trained: dict[str, Any]) -> None:
    assert "bit for bit" in repeated(space, [trained["version"]])


def test_the_version_is_served(space: Space, trained: dict[str, Any]) -> None:
    space.wait_for(f"modelupdate/{NAME}", "condition=Ready", UPDATE_LIMIT)
    assert space.status(NAME)["active"]["digest"] == trained["digest"]


def _trains(state: Object) -> bool:
    return bool((state.get("status") or {}).get("phase") == "Training")


def _is_tried_again(state: Object) -> bool:
    update = state["status"]["update"]
    return bool(update.get("attempts", {}).get("number") == 2 or update["phase"] == "Failed")


def _has_ended_training(state: Object) -> bool:
    update = (state.get("status") or {}).get("update") or {}
    return "candidate" in update or update.get("phase") == "Failed"


def _pods(space: Space, attempt: int) -> list[Object]:
    found: list[Object] = space.list(
        "pods", f"batch.kubernetes.io/job-name={NAME}-train-{last_number(space)}-a{attempt}"
    )
    return found


def _checkpoints(uid: str) -> list[Path]:
    """What updates of a ModelUpdate have written into the volume, which is a folder of this machine."""
    return [file for file in Path("/tmp").glob(f"{uid}.*/*") if file.is_file()]


def _words(pod: Object) -> dict[str, Any]:
    (status,) = pod["status"]["containerStatuses"]
    found: dict[str, Any] = json.loads(status["state"]["terminated"]["message"])
    return found
