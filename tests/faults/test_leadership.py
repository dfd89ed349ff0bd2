"""Two operator processes, and a Lease that the leader loses in the middle of an update in every way that there is."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from operators import Operator, until

from faults.measuring import record_value
from faults.oracle import succeeded
from faults.phases import cells
from faults.world import World

HAND_OVER = 8.0
PHASES = ("Training", "Preparing", "Scaling", "Switching", "Baking")
LEASE = "viridian-operator"
ELECTED = {"VIRIDIAN_LEADER_ELECTION": "true"}


@contextmanager
def two_processes(world: World) -> Iterator[tuple[Operator, Operator]]:
    """A leader and a standby in the place of the single process."""
    world.settled()
    world.kill()
    leader = world.start(**ELECTED)
    until(leader.leads, "the first process leads", 30)
    try:
        yield leader, world.start(**ELECTED)
    finally:
        world.kill()
        world.start()


def first_pass(world: World, since: int) -> float:
    """Moment of the first pass that begins after the call number ``since``."""
    return next(c.moment for c in world.proxy.calls[since:] if c.resource == "modelupdates" and c.verb == "get")


@pytest.mark.parametrize(
    "round_", [pytest.param(n, id=f"{n:02}", marks=() if n == 3 else pytest.mark.thorough) for n in range(20)]
)
def test_another_process_takes_over_from_a_killed_leader(world: World, round_: int) -> None:
    with two_processes(world) as (leader, standby):
        mark = world.update()
        world.phase(mark, PHASES[round_ % len(PHASES)])
        killed, calls = leader.signal(signal.SIGKILL), len(world.proxy.calls)
        leader.wait()
        succeeded(world, mark)
        assert standby.leads()
        took = first_pass(world, calls) - killed
    record_value("hand-over", "s", took, "SIGKILL of the leader to the first pass of the other process")
    assert took <= HAND_OVER


@pytest.mark.parametrize("phase", cells(PHASES, "Switching"))
def test_a_frozen_leader_writes_nothing_when_it_wakes(world: World, phase: str) -> None:
    with two_processes(world) as (leader, standby):
        mark = world.update()
        world.phase(mark, phase)
        leader.signal(signal.SIGSTOP)
        succeeded(world, mark)
        assert standby.leads()
        world.timeline.wait(lambda: world.status().get("phase") == "Idle", 60, "nothing is under way")
        # what is written from now on is not the other one's: what that sent has arrived before this call
        standby.signal(signal.SIGSTOP)
        through_proxy = replace(world.space.tools, kubeconfig=str(world.proxy.kubeconfig))
        through_proxy.kubectl("get", "lease", LEASE, "-n", world.space.name)
        calls = len(world.proxy.calls)
        try:
            leader.signal(signal.SIGCONT)
            assert leader.wait() == 1
            assert world.proxy.steps(calls) == []
        finally:
            standby.signal(signal.SIGCONT)


@pytest.mark.parametrize("phase", cells(PHASES))
def test_somebody_else_takes_the_lease(world: World, phase: str) -> None:
    with two_processes(world) as (leader, standby):
        mark = world.update()
        world.phase(mark, phase)
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        taken = f'{{"spec": {{"holderIdentity": "somebody", "renewTime": "{now}"}}}}'
        world.space.kubectl("patch", "lease", LEASE, "--type=merge", "-p", taken)
        assert leader.wait() == 1
        succeeded(world, mark)
        assert standby.leads()


@pytest.mark.parametrize("phase", cells(PHASES))
def test_the_lease_is_deleted(world: World, phase: str) -> None:
    with two_processes(world) as (leader, standby):
        mark = world.update()
        world.phase(mark, phase)
        world.space.kubectl("delete", "lease", LEASE)
        succeeded(world, mark)
        alive = [process for process in (leader, standby) if process.process.poll() is None]
        assert sum(process.leads() for process in alive) == 1
