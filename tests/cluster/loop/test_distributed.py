"""A model that two pods train together, with the image that trains alone otherwise."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from loop.appending import Stream
from loop.following import Object
from loop.manifests import NAME, model_update, plugins
from loop.provenance import inspected
from loop.registry import mlflow
from loop.serving import FIRST_EVENTS, UPDATE_LIMIT, last_number
from loop.space import Space
from loop.volumes import shared_claim

RANK = "batch.kubernetes.io/job-completion-index"


@pytest.fixture(scope="module")
def claim(space: Space) -> Iterator[str]:
    with shared_claim(space) as name:
        yield name


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
    assert "exactly once" in inspected(space, trained["version"])


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
