"""The operator's clock jumps in the middle of an update: the protocol holds, and a phase gets no longer by it.

The clock is that of libfaketime, which puts itself before the C library; monotonic time goes on as it does when an
administrator or NTP sets a clock.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from faults.oracle import invariants, no_request_lost, on_blue, succeeded, switches
from faults.world import World

LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
PHASES = ("Training", "Evaluating", "Preparing", "Scaling", "Switching", "Baking")
pytestmark = pytest.mark.thorough


class Clock:
    """A clock that the next operator process of ``world`` reads; it is right until it is set."""

    def __init__(self, world: World) -> None:
        assert LIBRARY, "libfaketime is not installed; make test-faults installs the package faketime"
        self._file = world.folder / "clock"
        self.jump("+0")
        world.kill()
        world.start(
            LD_PRELOAD=str(LIBRARY),
            FAKETIME_TIMESTAMP_FILE=str(self._file),
            FAKETIME_NO_CACHE="1",
            FAKETIME_DONT_FAKE_MONOTONIC="1",
            DONT_FAKE_MONOTONIC="1",
        )

    def jump(self, offset: str) -> None:
        """Set the clock to the true time and ``offset``, e.g. ``-1h``."""
        part = self._file.with_suffix(".part")
        part.write_text(offset)
        part.rename(self._file)


@pytest.mark.parametrize("phase", PHASES)
def test_an_hour_back(world: World, phase: str) -> None:
    world.settled()
    clock = Clock(world)
    mark = world.update()
    world.phase(mark, phase)
    clock.jump("-1h")
    succeeded(world, mark)
    world.kill()
    world.start()


@pytest.mark.parametrize("phase", PHASES)
def test_an_hour_forth(world: World, phase: str) -> None:
    """Every deadline is over at once; what serves must not suffer from it."""
    world.settled()
    clock = Clock(world)
    mark = world.update()
    world.phase(mark, phase)
    clock.jump("+1h")
    record = world.ended(mark)
    world.kill()
    world.start()
    assert record["phase"] in ("Succeeded", "RolledBack", "Failed"), record["message"]
    if record["phase"] != "Succeeded":
        on_blue(world, mark)
        assert len(switches(world, mark)) in (0, 2)
    assert invariants(world, mark) == []
    no_request_lost(world, mark)
