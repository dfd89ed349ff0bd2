"""Operator processes that die, at random or as leaders, or that are away for longer than every deadline."""

from __future__ import annotations

import random
import signal

import pytest

from faults.measuring import record_value
from faults.oracle import invariants, no_request_lost, on_blue, succeeded
from faults.world import World

KILLS, KILLS_PER_UPDATE = 100, 5
HAND_OVER = 8.0
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


@pytest.mark.parametrize(
    "round_",
    [
        pytest.param(number, id=f"{number:02}", marks=() if number == 3 else pytest.mark.thorough)
        for number in range(20)
    ],
)
def test_another_process_takes_over_from_a_killed_leader(world: World, round_: int) -> None:
    world.settled()
    world.kill()
    elected = {"VIRIDIAN_LEADER_ELECTION": "true"}
    leader = world.start(**elected)
    world.timeline.wait(lambda: leader.leads(), 30, "the first one leads") if not leader.leads() else None
    standby = world.start(**elected)
    mark = world.update()
    world.phase(mark, PHASES[round_ % len(PHASES)])
    killed, calls = leader.signal(signal.SIGKILL), len(world.proxy.calls)
    leader.wait()
    succeeded(world, mark)
    assert standby.leads()
    took = next(c.moment for c in world.proxy.calls[calls:] if c.resource == "modelupdates" and c.verb == "get")
    record_value("hand-over", "s", took - killed, "SIGKILL of the leader to the first pass of the other process")
    world.kill()
    world.start()
    assert took - killed <= HAND_OVER


@pytest.mark.parametrize(
    "phase", [pytest.param(phase, marks=() if phase == "Baking" else pytest.mark.thorough) for phase in PHASES]
)
def test_away_for_longer_than_every_deadline(world: World, phase: str) -> None:
    world.settled()
    world.apply(rollout={"deadlines": SHORT, "bake": {"deadline": "5s"}})
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
