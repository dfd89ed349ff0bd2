"""Status is lost, or comes back from an old backup: nothing that serves moves, and the lineage goes on."""

from __future__ import annotations

import json
from typing import Any

import pytest
from loop.manifests import NAME

from faults.oracle import invariants, no_request_lost, succeeded, switches
from faults.phases import AWAITING, BACK, cells
from faults.world import Mark, World

PHASES = ("Training", "Evaluating", "Preparing", "Verifying", "Scaling", "Switching", "Baking")


def write_status(world: World, status: dict[str, Any]) -> None:
    """What a restored backup does: the whole status is replaced, whatever has been written meanwhile."""
    change = json.dumps([{"op": "add", "path": "/status", "value": status}])
    world.space.kubectl("patch", "modelupdate", NAME, "--subresource=status", "--type=json", "-p", change)


def restored(world: World) -> None:
    """Wait until status knows again what serves and where its data end."""
    world.timeline.wait(lambda: (world.status().get("active") or {}).get("hash"), 60, "status is rebuilt")
    world.timeline.wait(lambda: not world.status().get("recovering"), 60, "the lineage is rebuilt")


@pytest.mark.parametrize("phase", cells((*PHASES, AWAITING, BACK), "Scaling"))
def test_lost_in_an_update(world: World, phase: str) -> None:
    world.settled()
    with world.leading_to(phase):
        mark = world.update()
        world.phase(mark, phase)
        write_status(world, {})
        restored(world)
    # whichever of both had the traffic when status was lost
    assert world.status()["active"]["hash"] == world.watchman().selected
    _unmoved(world, mark, most=2 if phase == BACK else 1)
    _goes_on(world)


@pytest.mark.thorough
def test_lost_between_updates(world: World) -> None:
    world.settled()
    mark = world.mark()
    write_status(world, {})
    restored(world)
    assert world.status()["active"]["digest"] == mark.status["active"]["digest"]
    assert world.status()["champion"]["watermark"] == mark.status["champion"]["watermark"]
    _unmoved(world, mark, most=0)
    _goes_on(world)


@pytest.mark.parametrize("phase", cells(("Idle", "Baking")))
def test_from_an_old_backup(world: World, phase: str) -> None:
    world.settled()
    if phase == "Idle":
        backup = world.status()
    else:
        before = world.update()
        backup = world.phase(before, phase)
        world.ended(before)
    world.settled()
    succeeded(world, world.update())
    mark = world.mark()
    write_status(world, backup)
    serving = mark.status["active"]["digest"]
    world.timeline.wait(lambda: world.status()["active"]["digest"] == serving, 60, "status is rebuilt")
    restored(world)
    assert world.status()["champion"]["watermark"] == mark.status["champion"]["watermark"]
    _unmoved(world, mark, most=0)
    _goes_on(world)


def _unmoved(world: World, mark: Mark, most: int) -> None:
    assert len(switches(world, mark)) <= most
    assert invariants(world, mark) == []
    no_request_lost(world, mark)


def _goes_on(world: World) -> None:
    """The next update is an ordinary one, with a number that was never used."""
    world.settled()
    number = world.mark().number
    record = succeeded(world, world.update())
    assert record["number"] > number
