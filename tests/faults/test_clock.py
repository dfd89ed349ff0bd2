"""The operator's clock jumps in the middle of an update: the protocol holds, and a phase gets no longer by it.

The clock is that of libfaketime, which puts itself before the C library; monotonic time goes on as it does when an
administrator or NTP sets a clock.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from faults.oracle import on_blue, succeeded, switches, unharmed
from faults.world import Mark, World

LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
PHASES = ("Training", "Evaluating", "Preparing", "Scaling", "Switching", "Baking")
pytestmark = pytest.mark.thorough


@contextmanager
def update_with_a_jump(world: World, phase: str, offset: str) -> Iterator[Mark]:
    """An update of an operator process whose clock is set to the true time and ``offset`` when ``phase`` begins."""
    assert LIBRARY, "libfaketime is not installed; make test-faults installs the package faketime"
    clock = world.folder / "clock"
    clock.write_text("+0")
    world.settled()
    world.kill()
    world.start(
        LD_PRELOAD=str(LIBRARY),
        FAKETIME_TIMESTAMP_FILE=str(clock),
        FAKETIME_NO_CACHE="1",
        FAKETIME_DONT_FAKE_MONOTONIC="1",
    )
    try:
        mark = world.update()
        world.phase(mark, phase)
        part = clock.with_suffix(".part")
        part.write_text(offset)
        part.rename(clock)
        yield mark
    finally:
        world.kill()
        world.start()


@pytest.mark.parametrize("phase", PHASES)
def test_an_hour_back(world: World, phase: str) -> None:
    with update_with_a_jump(world, phase, "-1h") as mark:
        succeeded(world, mark)


@pytest.mark.parametrize("phase", PHASES)
def test_an_hour_forth(world: World, phase: str) -> None:
    """Every deadline is over at once; what serves must not suffer from it."""
    with update_with_a_jump(world, phase, "+1h") as mark:
        record = world.ended(mark)
    assert record["phase"] in ("Succeeded", "RolledBack", "Failed"), record["message"]
    if record["phase"] != "Succeeded":
        on_blue(world, mark)
        assert len(switches(world, mark)) in (0, 2)
    unharmed(world, mark)
