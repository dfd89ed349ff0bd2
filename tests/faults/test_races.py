"""People who change their mind in the middle of an update: in each phase, and nobody who calls the model notices."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any

import pytest
from loop.manifests import NAME
from operators import until

from faults.manifests import server
from faults.mischief import Do, Fault, Where
from faults.oracle import invariants, no_request_lost, on_blue, rolled_back, switches
from faults.phases import AWAITING, BACK, LEADING_TO, cells
from faults.world import Mark, World
from viridian_operator.api.names import MODEL_UPDATE

PHASES = ("Training", "Evaluating", "Preparing", "Verifying", "Scaling", "Switching", "Baking")
#: phases of an update that may still succeed
BEFORE_THE_END = (*PHASES, AWAITING)


@contextmanager
def lingering(world: World, phase: str) -> Iterator[Mark]:
    """An update that stays in ``phase`` for a moment, or until somebody approves it."""
    world.settled()
    with world.leading_to(phase), world.proxy.disturbed(_late(phase)):
        mark = world.update()
        world.phase(mark, phase)
        yield mark


@pytest.mark.parametrize("phase", cells(BEFORE_THE_END, "Switching"))
def test_abort(world: World, phase: str) -> None:
    with lingering(world, phase) as mark:
        world.request(f"abort/{mark.number + 1}")
        record = world.ended(mark)
    assert record["phase"] == "Aborted", record["message"]
    on_blue(world, mark)
    assert len(switches(world, mark)) in ((0, 2) if phase in ("Switching", "Baking") else (0,))
    _unnoticed(world, mark)


@pytest.mark.thorough
def test_abort_on_the_way_back_is_refused(world: World) -> None:
    with lingering(world, BACK) as mark:
        answer = _answer(world, world.request(f"abort/{mark.number + 1}"))
        rolled_back(world, mark)
    assert answer["outcome"] == "Refused", answer["message"]


@pytest.mark.parametrize("phase", cells(BEFORE_THE_END))
def test_promote(world: World, phase: str) -> None:
    with lingering(world, phase) as mark:
        text = world.request(f"promote/{mark.number + 1}")
        answer = _answer(world, text)
        record = world.ended(mark)
    assert record["phase"] == "Succeeded", record["message"]
    assert answer["outcome"] == ("Accepted" if phase in ("Baking", AWAITING) else "Refused"), answer["message"]
    _unnoticed(world, mark)


@pytest.mark.parametrize("phase", cells(BEFORE_THE_END))
def test_new_serving_template(world: World, phase: str) -> None:
    with lingering(world, phase) as mark:
        template = _commit_template(world, phase, mark)
        _approve(world, phase, mark)
        record = world.ended(mark)
    assert record["phase"] == "Succeeded", record["message"]
    after = replace(mark, number=mark.number + 1)
    if world.timeline.get("Deployment", world.status()["active"]["deployment"]) is None or not _runs(world, template):
        again = world.ended(after)
        assert (again["kind"], again["phase"], again["digest"]) == ("Redeploy", "Succeeded", record["digest"])
    assert _runs(world, template)
    _unnoticed(world, mark)


@pytest.mark.thorough
def test_new_serving_template_on_the_way_back(world: World) -> None:
    with lingering(world, BACK) as mark:
        template = _commit_template(world, BACK, mark)
        rolled_back(world, mark)
        again = world.ended(replace(mark, number=mark.number + 1))
    served = mark.status["active"]["digest"]
    assert (again["kind"], again["phase"], again["digest"]) == ("Redeploy", "Succeeded", served), again["message"]
    assert _runs(world, template)
    _unnoticed(world, mark)


@pytest.mark.parametrize("phase", cells(BEFORE_THE_END))
def test_suspend(world: World, phase: str) -> None:
    with lingering(world, phase) as mark:
        world.apply(suspend=True)
        _approve(world, phase, mark)
        record = world.ended(mark)
    assert record["phase"] == "Succeeded", record["message"]
    world.apply()
    _unnoticed(world, mark)


@pytest.mark.thorough
def test_suspend_on_the_way_back(world: World) -> None:
    with lingering(world, BACK) as mark:
        world.apply(suspend=True)
        rolled_back(world, mark)


@pytest.mark.parametrize("phase", cells((*BEFORE_THE_END, BACK)))
def test_pin_to_what_serves(world: World, phase: str) -> None:
    with lingering(world, phase) as mark:
        version = mark.status["active"]["version"]
        world.apply(pin={"version": int(version), "reason": "a person wants it"})
        _approve(world, phase, mark)
        world.ended(mark)
        world.timeline.wait(lambda: _serves(world, version), 60, f"version {version} serves")
    world.apply()
    _unnoticed(world, mark)


@pytest.mark.parametrize("cascade", ["orphan", "background"])
@pytest.mark.parametrize("phase", cells((*BEFORE_THE_END, BACK)))
def test_deleted_and_applied_again(world: World, phase: str, cascade: str) -> None:
    """With ``deletionPolicy: Retain`` what serves stays, whether the deletion orphans children or not."""
    with lingering(world, phase) as mark:
        world.space.kubectl("delete", "modelupdate", NAME, f"--cascade={cascade}")
        if cascade == "background":
            world.timeline.wait(lambda: not world.timeline.list("Job"), 60, "its Jobs went with it")
        world.apply()
        world.timeline.wait(lambda: (world.status().get("active") or {}).get("hash"), 60, "status is rebuilt")
    world.timeline.wait(lambda: not world.status().get("recovering"), 60, "the lineage is rebuilt")
    # whichever of both had the traffic when the last pass of the deleted one was over
    assert world.status()["active"]["hash"] == world.watchman().selected
    _unnoticed(world, mark)


@pytest.mark.thorough
@pytest.mark.parametrize("phase", ["Training", "Scaling", AWAITING, "Baking", BACK])
def test_deleted_with_all_that_serves(new_world: Callable[..., AbstractContextManager[World]], phase: str) -> None:
    """``deletionPolicy: Delete``: everything goes, whatever was under way, and the operator goes on."""
    with new_world(deletionPolicy="Delete") as world:
        world.apply(**LEADING_TO.get(phase, {}))
        mark = world.update()
        world.phase(mark, phase)
        world.space.kubectl("delete", "modelupdate", NAME)
        until(lambda: _children(world) == "", "nothing of it is left", 120)
        (operator,) = world.operators
        assert operator.ready()
        until(lambda: world.space.name not in operator.probe("/metrics")[1], "it is forgotten", 60)


@pytest.mark.thorough
@pytest.mark.parametrize("phase", ["Training", "Switching", "Baking"])
def test_its_namespace_is_deleted(new_world: Callable[..., AbstractContextManager[World]], phase: str) -> None:
    with new_world() as world:
        mark = world.update()
        world.phase(mark, phase)
        world.space.tools.kubectl("delete", "namespace", world.space.name, "--timeout=120s")
        (operator,) = world.operators
        assert operator.ready()
        until(lambda: world.space.name not in operator.probe("/metrics")[1], "it is forgotten", 60)


def _late(phase: str) -> Fault:
    """The first call in ``phase`` takes longer; on the way back the one that moves the traffic."""
    if phase == BACK:
        return Fault(Do.DELAY, Where(resource="services", name=NAME, phases=(BACK,), steps=True), seconds=3)
    return Fault(Do.DELAY, Where(phases=(phase,)), seconds=1.5)


def _approve(world: World, phase: str, mark: Mark) -> None:
    """What an update that waits for a person needs to go on."""
    if phase == AWAITING:
        world.request(f"approve/{mark.number + 1}")


def _commit_template(world: World, phase: str, mark: Mark) -> dict[str, Any]:
    """A new serving template, which stays for all tests that follow."""
    template = server(args=[phase, str(mark.number)])
    world.fixed["serving"] = {"template": template}
    world.apply()
    return template


def _children(world: World) -> str:
    kinds = "deployments,replicasets,pods,services,configmaps,secrets,jobs,poddisruptionbudgets"
    return world.space.kubectl("get", kinds, "-l", f"{MODEL_UPDATE}={NAME}", "-o", "name").strip()


def _unnoticed(world: World, mark: Mark) -> None:
    assert invariants(world, mark) == []
    no_request_lost(world, mark)


def _answer(world: World, text: str) -> dict[str, Any]:
    def given() -> dict[str, Any]:
        last = world.status().get("lastRequest") or {}
        return last if last.get("text") == text else {}

    return world.timeline.wait(given, 30, f"answer to {text}")


def _runs(world: World, template: dict[str, Any]) -> bool:
    deployment = world.timeline.get("Deployment", world.status()["active"]["deployment"])
    wanted = template["spec"]["containers"][0]["args"]
    return bool(deployment) and deployment["spec"]["template"]["spec"]["containers"][0].get("args") == wanted


def _serves(world: World, version: str) -> bool:
    status = world.status()
    return bool(status["active"]["version"] == version and status["phase"] not in ("Switching", "Baking"))
