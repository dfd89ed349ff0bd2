"""Capacity Recreate: what serves is stopped before the candidate starts, and comes back if that fails."""

from __future__ import annotations

import pytest
from simulation import World
from stories import ended, more_events

from viridian_operator.api.status import Phase
from viridian_operator.decide.observation import PodTrouble


def recreate(world: World) -> None:
    world.spec = world.spec.but(rollout=world.spec.rollout.but(capacity="Recreate"))


def test_recreate_stops_what_serves_before_the_candidate_starts(first: World) -> None:
    recreate(first)
    more_events(first)
    while first.status.update and first.status.update.running:
        first.step()
        assert not (any(p.ready for p in first.pods_of("1")) and any(p.ready for p in first.pods_of("2")))
        first.tick(1)
    ended(first, Phase.SUCCEEDED, "Promoted")
    assert first.serving_versions == {"2"}
    assert first.status.update and first.status.update.outage_seconds


@pytest.mark.parametrize("fault", ["unhealthy", "stillborn"])
def test_recreate_starts_the_old_version_again_when_the_new_one_fails(first: World, fault: str) -> None:
    recreate(first)
    if fault == "unhealthy":
        first.unhealthy.add("2")
    else:
        first.stillborn["2"] = PodTrouble.CRASH_LOOP
    more_events(first)
    first.settle()
    assert first.status.update and first.status.update.phase in (Phase.ROLLED_BACK, Phase.FAILED)
    first.tick(5)
    assert first.serving_versions == {"1"}
    assert len(first.pods_of("1")) == 3
    assert not first.pods_of("2")
