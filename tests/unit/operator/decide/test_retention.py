"""Which versions the registry may forget."""

from __future__ import annotations

from dataclasses import replace

import pytest
from simulation import World, spec

from viridian_operator.api.spec import ModelUpdateSpec
from viridian_operator.decide import decision as act
from viridian_operator.decide.observation import RegisteredVersion

UPDATES = 6


def keeping(versions: int | None, **changes: object) -> ModelUpdateSpec:
    retention = {"retention": {"versions": versions}} if versions else {}
    return spec(registry={"trackingURI": "http://mlflow:5000"} | retention, **changes)


@pytest.fixture(scope="module")
def grown() -> World:
    """Six updates, of which the third was rejected and the fourth failed its bake."""
    world = World(spec=keeping(None), verdicts={"3": "Reject"}, unhealthy={"4"})
    world.settle()
    for _ in range(UPDATES - 1):
        world.events += 2000
        world.tick(7 * 3600)  # longer than any back-off
        world.settle()
    assert set(world.versions) == {"1", "2", "3", "4", "5", "6"}
    assert world.status.champion and world.status.champion.version == "6"
    assert world.status.quarantined("sha256:4")
    return world


def swept(world: World) -> set[str]:
    for _ in range(5):
        world.step()
        world.tick(1)
    return set(world.versions)


def test_nothing_is_deleted_unless_asked(grown: World) -> None:
    assert swept(grown.clone()) == {"1", "2", "3", "4", "5", "6"}


def test_the_newest_stay_with_what_is_used_and_what_is_evidence(grown: World) -> None:
    world = grown.clone()
    world.spec = keeping(1)
    # 6 serves, 5 stands by, 4 is in quarantine, 1 is the reference; the aliases name 6 and 5
    assert swept(world) == {"1", "4", "5", "6"}


def test_a_limit_that_is_not_reached_deletes_nothing(grown: World) -> None:
    world = grown.clone()
    world.spec = keeping(UPDATES)
    assert swept(world) == {"1", "2", "3", "4", "5", "6"}


@pytest.mark.parametrize("use", ["alias", "pin", "elsewhere"])
def test_what_others_point_at_or_trained_stays(grown: World, use: str) -> None:
    world = grown.clone()
    world.spec = keeping(1)
    if use == "alias":
        world.aliases["shadow"] = "2"
    elif use == "pin":
        world.spec = keeping(1, pin={"version": 2, "reason": "as a test"})
        world.settle()
    else:
        world.versions["2"] = replace(world.versions["2"], update="another-uid/2")
    assert "2" in swept(world)
    assert "3" not in world.versions


def test_the_registry_is_listed_once_after_an_update(grown: World) -> None:
    world = grown.clone()
    world.spec = keeping(3)
    swept(world)
    before = world.status
    assert before.swept == "6/3"
    world.versions["0"] = RegisteredVersion(version="0", digest="sha256:0", update="uid-1/0")
    assert "0" in swept(world), "nothing is asked again until something changes"
    world.spec = keeping(2)
    assert "0" not in swept(world)


def test_nothing_is_deleted_while_an_update_runs_or_the_registry_is_silent(grown: World) -> None:
    world = grown.clone()
    world.spec = keeping(1)
    world.registry_up = False
    assert swept(world) == {"1", "2", "3", "4", "5", "6"}
    world.registry_up = True
    world.events += 2000
    world.request("run/1")
    world.step()
    assert world.status.update and world.status.update.running
    assert not [action for action in world.step().actions if isinstance(action, act.DeleteVersion)]
