"""Real pods that crash, run out of memory, turn unready, never start: blue serves, and stays."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from loop.callers import RATE
from loop.manifests import NAME

from faults.manifests import REPLICAS, server
from faults.measuring import record_value
from faults.oracle import invariants, no_request_lost, on_blue, since, switches
from faults.timeline import Change
from faults.world import Mark, World

#: from the first sign of the loss in the API to the Service's selector on blue
BACK_WITHIN = 5.0
#: from the selector to the last request that the old way still takes: rules of kube-proxy, and what was under way
FOLLOWED_WITHIN = 2.0
ENDED = {"Failed", "RolledBack", "Aborted"}
AFTER_THE_SWITCH = [
    pytest.param({"crash": True}, 1, id="one-of-three-crashes"),
    pytest.param({"crash": True}, 3, id="all-three-crash"),
    pytest.param({"unready": True}, 3, id="all-three-unready"),
    pytest.param({"unready": True}, 1, id="one-of-three-unready", marks=pytest.mark.thorough),
    pytest.param({"oom": True}, 1, id="one-of-three-out-of-memory", marks=pytest.mark.thorough),
    pytest.param({"oom": True}, 3, id="all-three-out-of-memory", marks=pytest.mark.thorough),
    pytest.param({"status": 500}, 3, id="all-three-answer-500", marks=pytest.mark.thorough),
]
NEVER_READY = [
    # one crashes in tests/cluster/loop/test_failures.py, with the real server
    pytest.param({"crash": True}, "CrashLoop", id="crash-in-load", marks=pytest.mark.thorough),
    pytest.param({"oom": True}, "OutOfMemory", id="out-of-memory-in-load", marks=pytest.mark.thorough),
    pytest.param({"digest": "sha256:other"}, "IdentityMismatch", id="wrong-digest", marks=pytest.mark.thorough),
]


@contextmanager
def faulty(world: World, **fault: Any) -> Iterator[None]:
    """The next version starts with a fault."""
    world.prepare_faults(**{world.next_version(): fault})
    try:
        yield
    finally:
        world.prepare_faults()


@pytest.mark.parametrize(("fault", "pods"), AFTER_THE_SWITCH)
def test_after_the_switch(world: World, fault: dict[str, Any], pods: int) -> None:
    world.settled()
    mark = world.update()
    green = world.phase(mark, "Baking")["active"]["hash"]
    struck_at, struck = time.time(), world.strike(green, fault, pods)
    assert len(struck) == pods
    record = world.ended(mark)
    assert record["phase"] == "RolledBack", record["message"]
    on_blue(world, mark)
    assert switches(world, mark) == [green, mark.status["active"]["hash"]]
    harmed = [wrong for wrong in invariants(world, mark) if "no ready endpoint" not in wrong]
    assert harmed == []
    back = _back_after_loss(world, mark, green)
    record_value("rollback-after-loss", "s", back, f"first sign of the loss to the selector on blue: {fault}")
    assert back <= BACK_WITHIN
    outage = _given_back(world, mark, green).moment - struck_at
    assert world.load
    lost = world.load.since(mark.counters)
    assert (lost["mixed"], lost["wrong"]) == (0, 0)
    assert lost["failed"] <= RATE * (outage + FOLLOWED_WITHIN), f"more than the requests of {outage:.1f} s"


@pytest.mark.parametrize(("fault", "reason"), NEVER_READY)
def test_before_the_switch(world: World, fault: dict[str, Any], reason: str) -> None:
    world.settled()
    with faulty(world, **fault):
        mark = world.update()
        record = world.ended(mark)
    assert (record["phase"], record["reason"]) == ("Failed", reason), record["message"]
    _untouched(world, mark)


@pytest.mark.thorough
def test_a_slow_load_is_waited_for(world: World) -> None:
    world.settled()
    with faulty(world, slow=8):
        mark = world.update()
        assert world.ended(mark)["phase"] == "Succeeded"
    assert invariants(world, mark) == []
    no_request_lost(world, mark)


@pytest.mark.thorough
def test_an_image_that_cannot_be_pulled(world: World) -> None:
    world.settled()
    mark = world.mark()
    deadlines = {"schedule": "5s", "load": "20s", "verify": "10s", "switch": "10s"}
    world.apply(serving={"template": server(image="viridian.local/none:1")}, rollout={"deadlines": deadlines})
    record = world.ended(mark)
    world.apply()
    assert (record["phase"], record["reason"]) == ("Failed", "ImagePull"), record["message"]
    _untouched(world, mark)


@pytest.mark.thorough
def test_a_cordoned_node_is_unschedulable(world: World) -> None:
    world.settled()
    nodes = [node["metadata"]["name"] for node in world.space.list("nodes")]
    world.apply(rollout={"deadlines": {"schedule": "8s", "load": "20s", "verify": "10s", "switch": "10s"}})
    mark = world.update()
    world.phase(mark, "Preparing", "Evaluating")
    world.space.tools.kubectl("cordon", *nodes)
    try:
        record = world.ended(mark)
    finally:
        world.space.tools.kubectl("uncordon", *nodes)
        world.apply()
    assert record["phase"] == "Failed", record["message"]
    assert record["reason"] in ("Unschedulable", "DeadlineExceeded")
    _untouched(world, mark)


@pytest.mark.thorough
def test_half_of_green_lost_before_the_switch_is_waited_for(world: World) -> None:
    world.settled()
    mark = world.update()
    green = world.phase(mark, "Scaling")["preview"]["hash"]
    lost = [pod["metadata"]["name"] for pod in world.timeline.list("Pod", **{"viridian.dev/revision": green})]
    world.space.kubectl("delete", "pod", *lost[: REPLICAS // 2 + 1], "--grace-period=0", "--force", "--wait=false")
    assert world.ended(mark)["phase"] == "Succeeded"
    assert invariants(world, mark) == []
    no_request_lost(world, mark)


@pytest.mark.thorough
def test_half_of_green_lost_in_the_bake_is_no_outage(world: World) -> None:
    world.settled()
    mark = world.update()
    green = world.phase(mark, "Baking")["active"]["hash"]
    lost = [pod["metadata"]["name"] for pod in world.timeline.list("Pod", **{"viridian.dev/revision": green})]
    world.space.kubectl("delete", "pod", *lost[: REPLICAS // 2 + 1], "--wait=false")
    record = world.ended(mark)
    assert record["phase"] in ("Succeeded", "RolledBack")
    assert invariants(world, mark) == []
    no_request_lost(world, mark)


@pytest.mark.parametrize("phase", ["Scaling", pytest.param("Baking", marks=pytest.mark.thorough)])
def test_the_deployment_of_blue_is_deleted_and_comes_back(world: World, phase: str) -> None:
    world.settled()
    mark = world.update()
    status = world.phase(mark, phase)
    blue = mark.status["active"]["deployment"]
    world.space.kubectl("delete", "deployment", blue, "--cascade=orphan")
    record = world.ended(mark)
    assert record["phase"] == "Succeeded", (status["phase"], record["message"])
    no_request_lost(world, mark)


def _untouched(world: World, mark: Mark) -> None:
    """The candidate never had traffic, and the callers noticed nothing."""
    on_blue(world, mark)
    assert switches(world, mark) == []
    assert invariants(world, mark) == []
    no_request_lost(world, mark)


def _back_after_loss(world: World, mark: Mark, green: str) -> float:
    """Seconds from the first pod of green that is not ready any more, or the failed check, to the selector."""
    changes, back = since(world, mark), _given_back(world, mark, green)
    baking = next(c.moment for c in changes if c.kind == "ModelUpdate" and c.object["status"]["phase"] == "Baking")
    signs = [c.moment for c in changes if c.moment >= baking and (_lost(c, green) or _rolling_back(c))]
    return max(0.0, back.moment - min(signs))


def _given_back(world: World, mark: Mark, green: str) -> Change:
    """The last change of the active Service, by which it selects another revision than ``green``."""
    changes = reversed(since(world, mark))
    return next(c for c in changes if c.kind == "Service" and c.name == NAME and _selects(c) != green)


def _selects(change: Any) -> str:
    return str((change.object["spec"].get("selector") or {}).get("viridian.dev/revision", ""))


def _lost(change: Any, green: str) -> bool:
    labels = change.object["metadata"].get("labels") or {}
    if change.kind != "Pod" or labels.get("viridian.dev/revision") != green:
        return False
    conditions = change.object["status"].get("conditions") or ()
    return any(each["type"] == "Ready" and each["status"] != "True" for each in conditions)


def _rolling_back(change: Any) -> bool:
    return change.kind == "ModelUpdate" and change.object["status"]["phase"] == "RollingBack"
