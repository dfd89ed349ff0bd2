"""Steps of stories about whole updates in the simulated world."""

from __future__ import annotations

from simulation import World

from viridian_operator.api.status import Phase


def more_events(world: World, count: int = 1500) -> None:
    world.events += count
    world.run(lambda w: w.status.update is not None and w.status.update.running)


def condition(world: World, kind: str) -> str | None:
    return next((c.status for c in world.status.conditions if c.type == kind), None)


def ended(world: World, phase: Phase, reason: str) -> None:
    update = world.status.update
    assert update is not None
    assert (update.phase, update.reason) == (phase, reason), update.message


def to_bake(world: World) -> None:
    more_events(world)
    world.run(lambda w: w.status.phase is Phase.BAKING)


def switched(world: World) -> None:
    """Until the Service selects the new revision, in phase Switching."""
    more_events(world)
    world.run(lambda w: w.status.phase is Phase.SWITCHING)
    assert world.services["ctr"] == world.status.update.green.hash  # type: ignore[union-attr]
