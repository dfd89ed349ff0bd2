"""Condition ``Stale``: told when what serves knows of nothing new for too long."""

from __future__ import annotations

from datetime import timedelta

import pytest
from simulation import START, World, following

from viridian_operator.api.status import Condition

LIMIT = START + timedelta(hours=2)


def stale(world: World) -> Condition | None:
    return next((c for c in world.status.conditions if c.type == "Stale"), None)


@pytest.fixture
def world() -> World:
    """Serves a version whose newest event is of the start, and may be two hours old."""
    made = World(spec=following(data=None, evaluation={}, freshness={"maxAge": "2h"}))
    made.publish(event_time=START.timestamp())
    made.settle()
    return made


def test_what_serves_turns_stale_once_and_is_fresh_again_with_a_newer_version(world: World) -> None:
    made = world.step()
    assert stale(world) is None
    assert made.wake_at == LIMIT, "nothing else would tell of it"
    world.now = LIMIT
    for _ in range(3):
        world.step()
        world.tick(60)
    found = stale(world)
    assert found and (found.status, found.reason) == ("True", "TooOld")
    assert sum(note.reason == "TooOld" for note in world.notes) == 1
    world.publish(event_time=world.now.timestamp())
    world.settle()
    assert stale(world) is None


def test_staleness_is_told_and_changes_nothing_else(world: World) -> None:
    world.now = LIMIT + timedelta(days=1)
    before = world.step().status
    after = world.step().status
    assert before == after
    assert next(c.status for c in after.conditions if c.type == "Ready") == "True"


def test_a_version_that_does_not_say_how_old_it_is_is_not_called_fresh(world: World) -> None:
    world.publish()
    world.settle()
    found = stale(world)
    assert found and (found.status, found.reason) == ("Unknown", "NoEventTime")


def test_without_a_limit_nothing_is_stale(world: World) -> None:
    world.now = LIMIT
    world.step()
    assert stale(world)
    world.spec = following(data=None, evaluation={})
    world.step()
    assert stale(world) is None
