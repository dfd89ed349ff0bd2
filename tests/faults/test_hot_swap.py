"""``capacity: HotSwap`` on real pods: two versions in the same pods, one round of calls, and back the same way."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from loop.manifests import NAME
from operators import until

from faults.calls import Call
from faults.manifests import REPLICAS
from faults.measuring import record_value
from faults.mischief import Do, Fault
from faults.oracle import invariants, jobs, no_request_lost, since, switches, unharmed, versions
from faults.test_sweep import STEPS, around_the_switch, pytest_generate_tests
from faults.world import LIMIT, Mark, World
from viridian_operator.api.names import REVISION, serves

__all__ = ["pytest_generate_tests"]
LEAN_PLACES = {"middle": 0.5}
SWAP = {"capacity": "HotSwap"}


@pytest.fixture(scope="module")
def swapping(world: World) -> Iterator[World]:
    """A world whose pods take versions, and whose active version says which graph it has."""
    world.settled()
    before = dict(world.fixed)
    world.fixed |= {"rollout": SWAP, "training": {"config": {"graph": "one"}}}
    world.apply()
    mark = world.update()
    assert world.ended(mark)["phase"] == "Succeeded"
    assert "which graph" in world.status()["update"]["room"], "the versions before say nothing of theirs"
    yield world
    world.fixed = before
    world.apply()
    world.settled()


@pytest.fixture(scope="module")
def undisturbed(swapping: World) -> tuple[Mark, list[Call]]:
    """The moment before a hot swap that nothing disturbs, and its writes."""
    swapping.settled()
    mark = swapping.update()
    assert swapping.ended(mark)["phase"] == "Succeeded"
    return mark, swapping.proxy.steps(mark.call)


def swapped(world: World, mark: Mark, *, new_pods: int = 0) -> dict[str, Any]:
    """The update after ``mark`` ended well, in the pods that were there before."""
    record = world.ended(mark, LIMIT)
    assert record["phase"] == "Succeeded", record["message"]
    status, number = world.status(), record["number"]
    assert status["update"]["hotSwap"]
    assert status["active"]["digest"] == status["champion"]["digest"] == record["digest"]
    assert jobs(world, mark) == [f"{NAME}-eval-{number}-a1", f"{NAME}-train-{number}-a1"]
    assert versions(world, number) == [record["version"]]
    assert switches(world, mark) == []
    assert pods_made(world, mark) == new_pods
    serving(world, record["digest"])
    unharmed(world, mark)
    return record


def back(world: World, mark: Mark, reason: str) -> dict[str, Any]:
    """The update after ``mark`` was rolled back, and every pod serves what it served before."""
    record = world.ended(mark, LIMIT)
    assert (record["phase"], record["reason"]) == ("RolledBack", reason), record["message"]
    assert world.status()["active"]["digest"] == mark.status["active"]["digest"]
    assert world.status()["champion"] == mark.status["champion"]
    serving(world, mark.status["active"]["digest"])
    return record


def pods(world: World) -> list[dict[str, Any]]:
    """Pods of the active revision that are not going away."""
    found = world.timeline.list("Pod", **{REVISION: world.status()["active"]["hash"]})
    return [pod for pod in found if not pod["metadata"].get("deletionTimestamp")]


def pods_made(world: World, mark: Mark) -> int:
    """Serving pods that were made since ``mark``."""
    made = [change for change in since(world, mark) if change.kind == "Pod" and change.type == "ADDED"]
    return sum(REVISION in (change.object["metadata"].get("labels") or {}) for change in made)


def serving(world: World, digest: str) -> None:
    """Wait until every pod is ready and says that it serves ``digest``, and the record says the same."""
    name = serves(world.status()["active"]["deployment"])

    def said() -> list[str]:
        record = json.loads(world.space.get("configmap", name)["data"]["revision.json"])
        return [record["digest"], *(_identity(pod) for pod in pods(world))]

    until(lambda: said() == [digest] * (1 + REPLICAS), f"the record and all pods on {digest}")


def _identity(pod: dict[str, Any]) -> str:
    try:
        with urllib.request.urlopen(f"http://{pod['status']['podIP']}:8080/viridian/v1/identity", timeout=2) as answer:
            said = json.loads(answer.read())
    except (OSError, KeyError):
        return ""
    return str(said["digest"]) if said["ready"] else ""


@contextmanager
def struck(world: World, fault: dict[str, Any], count: int = REPLICAS) -> Iterator[None]:
    """Pods of the active revision have a fault meanwhile."""
    revision = world.status()["active"]["hash"]
    assert len(world.strike(revision, fault, count)) == count
    try:
        yield
    finally:
        world.strike(revision, {})


def test_no_pod_starts_and_no_request_is_lost(swapping: World, undisturbed: tuple[Mark, list[Call]]) -> None:
    record = swapped(swapping, undisturbed[0])
    seconds = next(each["seconds"] for each in record["phases"] if each["phase"] == "Switching")
    record_value("hot-swap-switch", "s", seconds, "intent in status to all pods proven on the new version")


def test_killed_after_a_write(swapping: World, undisturbed: tuple[Mark, list[Call]], place: int | float) -> None:
    _, writes = undisturbed
    number = place if isinstance(place, int) else around_the_switch(writes, place)
    if number > len(writes):
        pytest.skip(f"a hot swap has {len(writes)} writes")
    fault = Fault(Do.HOLD, STEPS, nth=number)
    swapping.settled()
    with swapping.proxy.disturbed(fault):
        mark = swapping.update()
        assert fault.happened.wait(60), f"there was no write {number}"
        swapping.kill()
    swapping.start(wait=False)
    print(f"killed after write {number}: {fault.hit[0]}")
    swapped(swapping, mark)


@pytest.mark.thorough
def test_a_pod_that_is_lost_between_stage_and_flip_is_waited_for(swapping: World) -> None:
    swapping.settled()
    swapping.apply(rollout={**SWAP, "approval": {"mode": "Manual"}})
    mark = swapping.update()
    number = swapping.phase(mark, "AwaitingApproval")["update"]["number"]
    victim = pods(swapping)[0]["metadata"]["name"]
    swapping.space.kubectl("delete", "pod", victim, "--grace-period=5", "--wait=false")
    swapping.request(f"approve/{number}")
    swapped(swapping, mark, new_pods=1)
    swapping.apply()


@pytest.mark.thorough
def test_all_go_back_when_one_does_not_flip(swapping: World) -> None:
    swapping.settled()
    swapping.apply(rollout={**SWAP, "deadlines": {"switch": "5s"}})
    with struck(swapping, {"deaf": True}, 1):
        mark = swapping.update()
        back(swapping, mark, "SwitchFailed")
    no_request_lost(swapping, mark)
    assert invariants(swapping, mark) == []
    swapping.apply()


def test_wrong_answers_after_the_flip_go_back_at_once(swapping: World) -> None:
    swapping.settled()
    with struck(swapping, {"stage": {"status": 500}}):
        mark = swapping.update()
        record = back(swapping, mark, "GoldenFailed")
    switching = next(each["seconds"] for each in record["phases"] if each["phase"] == "Switching")
    assert switching < 5
    assert record["digest"] in {each["digest"] for each in swapping.status()["quarantine"]}


@pytest.mark.thorough
def test_one_that_crashes_while_it_bakes_comes_back_with_the_old_version(swapping: World) -> None:
    swapping.settled()
    mark = swapping.update()
    revision = swapping.phase(mark, "Baking")["active"]["hash"]
    assert swapping.strike(revision, {"crash": True}, 1)
    back(swapping, mark, "CrashLoop")
    assert invariants(swapping, mark) == []


def test_out_of_memory_while_it_loads_costs_one_pod(swapping: World) -> None:
    swapping.settled()
    with struck(swapping, {"stage": {"oom": True}}):
        mark = swapping.update()
        record = swapping.ended(mark)
    assert record["phase"] == "Failed", record["message"]
    assert record["reason"] in ("OutOfMemory", "CrashLoop")
    active = mark.status["active"]["hash"]
    died = [
        change.name
        for change in since(swapping, mark)
        if change.kind == "Pod" and change.object["metadata"]["labels"].get(REVISION) == active
        for container in change.object["status"].get("containerStatuses") or ()
        if (container.get("state") or {}).get("terminated") or (container.get("lastState") or {}).get("terminated")
    ]
    assert len(set(died)) <= 1
    assert invariants(swapping, mark) == []
    serving(swapping, mark.status["active"]["digest"])


@pytest.mark.thorough
def test_an_edited_record_is_restored(swapping: World) -> None:
    swapping.settled()
    mark, name = swapping.mark(), serves(swapping.status()["active"]["deployment"])
    edit = json.dumps({"data": {"revision.json": json.dumps({"model": "x", "version": "0", "digest": "sha256:0"})}})
    swapping.space.kubectl("patch", "configmap", name, "--type=merge", f"--patch={edit}")
    swapping.request("retry")  # nothing watches ConfigMaps: the next pass sees it
    serving(swapping, mark.status["active"]["digest"])
    unharmed(swapping, mark)
