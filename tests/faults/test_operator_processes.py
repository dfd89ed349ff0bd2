"""Operator processes that die at random, or that are away for longer than every deadline."""

from __future__ import annotations

import random

import pytest
from loop.manifests import merged

from faults.oracle import invariants, no_request_lost, on_blue, succeeded
from faults.phases import BACK, LEADING_TO, cells
from faults.world import World

KILLS, KILLS_PER_UPDATE = 100, 5
PHASES = ("Training", "Preparing", "Scaling", "Switching", "Baking")
SHORT = {"schedule": "5s", "load": "5s", "verify": "5s", "switch": "5s"}


@pytest.mark.thorough
@pytest.mark.timeout(1800)
def test_random_kills_under_load(world: World) -> None:
    dice, kills = random.Random(4), 0
    begin = world.mark()
    while kills < KILLS:
        world.settled()
        mark = world.update()
        for _ in range(KILLS_PER_UPDATE):
            # a random moment is what is tested
            world.proxy.gone.wait(dice.uniform(0.1, 2.5))
            world.kill()
            world.start()
            kills += 1
        succeeded(world, mark)
    assert invariants(world, begin) == []
    print(f"{kills} kills:", no_request_lost(world, begin))


@pytest.mark.parametrize("phase", cells((*PHASES, BACK), "Baking"))
def test_away_for_longer_than_every_deadline(world: World, phase: str) -> None:
    world.settled()
    world.apply(**merged({"rollout": {"deadlines": SHORT, "bake": {"deadline": "5s"}}}, LEADING_TO.get(phase, {})))
    mark = world.update()
    world.phase(mark, phase)
    world.kill()
    # longer than each of the deadlines
    world.proxy.gone.wait(12)
    world.start()
    record = world.ended(mark)
    world.apply()
    assert record["phase"] in ("Succeeded", "RolledBack", "Failed")
    if record["phase"] != "Succeeded":
        on_blue(world, mark)
    assert invariants(world, mark) == []
    no_request_lost(world, mark)
