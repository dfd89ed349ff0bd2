"""People who change their mind in the middle of an update: in each phase, and nobody who calls the model notices."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
from loop.manifests import NAME
from operators import until

from faults.manifests import server
from faults.mischief import Do, Fault, Where
from faults.oracle import invariants, no_request_lost, on_blue, switches
from faults.phases import cells
from faults.world import Mark, World

PHASES = ("Training", "Evaluating", "Preparing", "Verifying", "Scaling", "Switching", "Baking")


@contextmanager
def lingering(world: World, phase: str) -> Iterator[Mark]:
    """An update that stays in ``phase`` for a moment: its first call there is late."""
    world.settled()
    late = Fault(Do.DELAY, Where(phases=(phase,)), seconds=1.5)
    with world.proxy.disturbed(late):
        mark = world.update()
        world.phase(mark, phase)
        yield mark


@pytest.mark.parametrize("phase", cells(PHASES, "Switching"))
def test_abort(world: World, phase: str) -> None:
    with lingering(world, phase) as mark:
        world.request(f"abort/{mark.number + 1}")
        record = world.ended(mark)
    assert record["phase"] == "Aborted", record["message"]
    on_blue(world, mark)
    assert len(switches(world, mark)) in ((0, 2) if phase in ("Switching", "Baking") else (0,))
    _unnoticed(world, mark)


@pytest.mark.parametrize("phase", cells(PHASES))
def test_promote(world: World, phase: str) -> None:
    with lingering(world, phase) as mark:
        text = world.request(f"promote/{mark.number + 1}")
        answer = _answer(world, text)
        record = world.ended(mark)
    assert record["phase"] == "Succeeded", record["message"]
    assert answer["outcome"] == ("Accepted" if phase == "Baking" else "Refused"), answer["message"]
    _unnoticed(world, mark)


@pytest.mark.parametrize("phase", cells(PHASES))
def test_new_serving_template(world: World, phase: str) -> None:
    with lingering(world, phase) as mark:
        template = server(args=[phase, str(mark.number)])
        world.apply(serving={"template": template})
        record = world.ended(mark)
    assert record["phase"] == "Succeeded", record["message"]
    after = Mark(mark.number + 1, mark.version, mark.call, mark.counters, mark.status)
    if world.timeline.get("Deployment", world.status()["active"]["deployment"]) is None or not _runs(world, template):
        again = world.ended(after)
        assert (again["kind"], again["phase"], again["digest"]) == ("Redeploy", "Succeeded", record["digest"])
    assert _runs(world, template)
    world.fixed["serving"] = {"template": template}
    _unnoticed(world, mark)


@pytest.mark.parametrize("phase", cells(PHASES))
def test_suspend(world: World, phase: str) -> None:
    with lingering(world, phase) as mark:
        world.apply(suspend=True)
        record = world.ended(mark)
    assert record["phase"] == "Succeeded", record["message"]
    world.apply()
    _unnoticed(world, mark)


@pytest.mark.parametrize("phase", cells(PHASES))
def test_pin_to_what_serves(world: World, phase: str) -> None:
    with lingering(world, phase) as mark:
        version = mark.status["active"]["version"]
        world.apply(pin={"version": int(version), "reason": "a person wants it"})
        world.ended(mark)
    world.timeline.wait(lambda: _serves(world, version), 60, f"version {version} serves")
    world.apply()
    _unnoticed(world, mark)


@pytest.mark.parametrize("phase", cells(PHASES))
def test_deleted_and_applied_again(world: World, phase: str) -> None:
    with lingering(world, phase) as mark:
        world.space.kubectl("delete", "modelupdate", NAME, "--cascade=orphan")
        world.apply()
        world.timeline.wait(lambda: (world.status().get("active") or {}).get("hash"), 60, "status is rebuilt")
    world.timeline.wait(lambda: not world.status().get("recovering"), 60, "the lineage is rebuilt")
    # whichever of both had the traffic when the last pass of the deleted one was over
    assert world.status()["active"]["hash"] == world.watchman().selected
    _unnoticed(world, mark)


@pytest.mark.thorough
@pytest.mark.parametrize("phase", ["Training", "Switching", "Baking"])
def test_its_namespace_is_deleted(new_world: Callable[[], AbstractContextManager[World]], phase: str) -> None:
    with new_world() as world:
        mark = world.update()
        world.phase(mark, phase)
        world.space.tools.kubectl("delete", "namespace", world.space.name, "--timeout=120s")
        (operator,) = world.operators
        assert operator.ready()
        until(lambda: world.space.name not in operator.probe("/metrics")[1], "it is forgotten", 60)


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
