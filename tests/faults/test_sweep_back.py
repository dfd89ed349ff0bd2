"""SIGKILL after single writes of an update that is rolled back: the next process takes the traffic back as well."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from loop.manifests import NAME
from loop.serving import entry
from operators import until

from faults.calls import Call
from faults.mischief import Do, Fault, Where
from faults.oracle import rolled_back
from faults.phases import BACK
from faults.test_sweep import LONGEST, STEPS
from faults.world import LIMIT, Mark, World

#: the write that gives the traffic back
SELECTOR = Where(resource="services", name=NAME, phases=(BACK,), steps=True)


@pytest.fixture
def failing(world: World) -> Iterator[World]:
    """A world in which no candidate passes its bake."""
    world.settled()
    with world.leading_to(BACK):
        yield world


@pytest.fixture(scope="module")
def writes(world: World) -> list[Call]:
    """The writes of an update that is rolled back and cleaned up after, and that nothing else disturbs."""
    world.settled()
    with world.leading_to(BACK):
        mark = world.update()
        rolled_back(world, mark)
        world.timeline.wait(lambda: _is_over(world, mark), 60, "nothing of the candidate is left")
        return world.proxy.steps(mark.call)


def test_killed_after_the_selector_is_back(failing: World) -> None:
    fault = Fault(Do.HOLD, SELECTOR)
    with failing.proxy.disturbed(fault):
        mark = failing.update()
        assert fault.happened.wait(60), "the traffic was not given back"
        failing.kill()
    failing.start(wait=False)
    rolled_back(failing, mark)


@pytest.mark.thorough
@pytest.mark.parametrize("number", [pytest.param(n, id=f"write-{n:02}") for n in range(1, LONGEST + 1)])
def test_killed_after_a_write(failing: World, writes: list[Call], number: int) -> None:
    if number > len(writes):
        pytest.skip(f"the update has {len(writes)} writes")
    fault = Fault(Do.HOLD, STEPS, nth=number)
    with failing.proxy.disturbed(fault):
        mark = failing.update()
        until(lambda: fault.happened.is_set() or _is_over(failing, mark), f"write {number}, or the end", LIMIT)
        if not fault.happened.is_set():
            pytest.skip("Jobs whose steps are seen at once take a write less than those of the update that was counted")
        failing.kill()
    failing.start(wait=False)
    print(f"killed after write {number}: {fault.hit[0]}")
    rolled_back(failing, mark)


def _is_over(world: World, mark: Mark) -> bool:
    """The update after ``mark`` has ended, and nothing is left to be written for it."""
    left = len(world.timeline.list("Deployment")), len(world.timeline.list("Job"))
    status = world.status()
    return entry(status, mark.number + 1) is not None and left == (1, 0) and not status.get("owedTags")
