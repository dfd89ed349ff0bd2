"""SIGKILL after single writes of an update: the next process ends it as if nothing had happened."""

from __future__ import annotations

from typing import Any

import pytest

from faults.calls import Call
from faults.mischief import Do, Fault, Where
from faults.oracle import succeeded
from faults.world import World

LONGEST = 50
#: how far from the first to the last write around the switch the lean run kills
LEAN_PLACES = {"first": 0.0, "last": 1.0}
#: API requests that change something, of an update without its training part
MOST = 40
STEPS = Where(steps=True)
#: phases before a candidate is there; a slow machine shows more steps of their Jobs in status
TRAINING = ("Queued", "Training", "Evaluating")
#: phases between the creation of green and the end of the bake
AROUND_THE_SWITCH = ("Preparing", "Verifying", "Scaling", "Switching", "Baking")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "place" in metafunc.fixturenames:
        if metafunc.config.getoption("--sweep") == "all":
            places: list[Any] = [pytest.param(number, id=f"write-{number:02}") for number in range(1, LONGEST + 1)]
        else:
            lean = metafunc.module.LEAN_PLACES.items()
            places = [pytest.param(share, id=f"{name}-around-the-switch") for name, share in lean]
        metafunc.parametrize("place", places)


@pytest.fixture(scope="module")
def writes(world: World) -> list[Call]:
    """The writes of an undisturbed update."""
    mark = world.update()
    succeeded(world, mark)
    return world.proxy.steps(mark.call)


def test_an_undisturbed_update_needs_few_writes(writes: list[Call]) -> None:
    rollout = [str(call) for call in writes if call.phase not in TRAINING]
    print(f"{len(writes)} writes, {len(rollout)} without training: {', '.join(map(str, writes))}")
    assert len(rollout) <= MOST, rollout


def test_killed_after_a_write(world: World, writes: list[Call], place: int | float) -> None:
    number = place if isinstance(place, int) else around_the_switch(writes, place)
    if number > len(writes):
        pytest.skip(f"an update has {len(writes)} writes")
    fault = Fault(Do.HOLD, STEPS, nth=number)
    world.settled()
    with world.proxy.disturbed(fault):
        mark = world.update()
        assert fault.happened.wait(60), f"there was no write {number}"
        world.kill()
    world.start(wait=False)
    print(f"killed after write {number}: {fault.hit[0]}")
    succeeded(world, mark)


def around_the_switch(writes: list[Call], share: float) -> int:
    """Number of the write that is so far from the first to the last one around the switch."""
    around = [number for number, call in enumerate(writes, 1) if call.phase in AROUND_THE_SWITCH]
    return around[int(share * (len(around) - 1))]
