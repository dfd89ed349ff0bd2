"""Status is lost, old or contradicted by what people edited: nothing that serves moves."""

from __future__ import annotations

import pytest
from simulation import World
from stories import more_events

from viridian_operator.api.status import ModelUpdateStatus, Phase


@pytest.mark.parametrize("old", [False, True], ids=["lost", "from a backup"])
def test_a_request_is_not_done_again_after_status_was_lost(first: World, old: bool) -> None:
    backup = first.status
    first.annotations["viridian.dev/request"] = "retrain/7f3a"
    first.run(lambda w: w.status.update is not None and w.status.update.number == 2)
    first.settle()
    first.status = backup if old else ModelUpdateStatus()
    for _ in range(10):
        first.step()
        first.tick(5)
    assert first.status.last_request and first.status.last_request.outcome == "Refused"
    assert first.status.update is None or first.status.update.number == 1
    assert first.status.champion and first.status.champion.version == "2"


def test_an_alias_does_not_crown_a_version_that_failed() -> None:
    world = World()
    world.unhealthy.add("1")
    world.settle()
    assert world.status.champion is None and world.status.update and world.status.update.candidate
    world.aliases["champion"] = world.status.update.candidate.version
    world.status = world.status.but(active=None)
    for _ in range(5):
        world.step()
        world.tick(1)
    assert world.status.active is not None
    assert world.status.champion is None


def test_an_alias_moved_while_status_is_lost_crowns_nothing_that_was_never_promoted(first: World) -> None:
    more_events(first)
    first.verdicts["2"] = "Reject"
    first.settle()
    first.aliases["champion"] = "2"
    first.status = ModelUpdateStatus()
    for _ in range(8):
        first.step()
        first.tick(2)
    assert first.status.champion and first.status.champion.version == "1"
    assert first.status.aliases.foreign == {"champion": "2"}
    assert first.aliases["champion"] == "2"
    assert first.serving_versions == {"1"}


def test_a_lost_status_is_rebuilt_around_what_serves(first: World) -> None:
    more_events(first)
    first.settle()
    before = dict(first.deployments)
    switches = list(first.switches)
    first.status = ModelUpdateStatus()
    for _ in range(5):
        first.step()
        first.tick(2)
    assert first.status.active and first.status.active.version == "2"
    assert first.status.champion and first.status.champion.watermark == first.versions["2"].trained_to
    assert first.switches == switches
    assert first.deployments[first.status.active.hash] is before[first.status.active.hash]
    first.events += 1500
    first.run(lambda w: w.status.update is not None and w.status.update.running)
    assert first.status.update and first.status.update.window
    assert first.status.update.window.start == first.versions["2"].trained_to


def test_a_lost_status_with_the_registry_down_waits_before_it_trains(first: World) -> None:
    first.status = ModelUpdateStatus()
    first.registry_up = False
    first.events += 5000
    for _ in range(20):
        first.step()
        first.tick(10)
    assert first.serving_versions == {"1"}
    assert first.status.update is None
    first.registry_up = True
    first.run(lambda w: w.status.update is not None)


@pytest.mark.parametrize("phase", [Phase.IDLE, Phase.TRAINING, Phase.PREPARING, Phase.BAKING])
def test_a_status_from_an_old_backup_moves_nothing_that_serves(first: World, phase: Phase) -> None:
    more_events(first)
    first.run(lambda w: phase is Phase.IDLE or w.status.phase is phase)
    backup = first.status
    first.settle()
    more_events(first)
    first.settle()
    assert first.serving_versions == {"3"}
    switches, created = list(first.switches), list(first.jobs_created)
    first.status = backup
    for _ in range(10):
        first.step()
        first.tick(2)
        assert first.serving_versions == {"3"}
    assert first.status.active and first.status.active.version == "3"
    assert first.status.champion and first.status.champion.watermark == first.versions["3"].trained_to
    assert (first.switches, first.jobs_created) == (switches, created)
    assert first.aliases["champion"] == "3"
    more_events(first)
    assert first.status.update and first.status.update.number == 4


def test_a_selector_edited_to_another_revision_of_ours_is_restored(first: World) -> None:
    more_events(first)
    first.settle()
    active, previous = first.status.active, first.status.previous
    assert active and previous
    first.services["ctr"] = previous.hash
    first.step()
    assert first.services["ctr"] == active.hash
    assert first.status.active == active


def test_numbers_of_jobs_that_outlived_a_lost_status_are_not_used_again(first: World) -> None:
    more_events(first)
    first.run(lambda w: w.status.phase is Phase.TRAINING)
    first.status = ModelUpdateStatus()
    more_events(first)
    assert first.status.update and first.status.update.number == 3


def test_an_edited_selector_and_a_deleted_deployment_are_restored(first: World) -> None:
    active = first.status.active
    assert active
    first.services["ctr"] = "somebody"
    first.deployments.pop(active.hash)
    first.step()
    assert first.services["ctr"] == active.hash
    assert active.hash in first.deployments


def test_what_serves_is_found_when_status_is_lost_and_the_selector_edited(first: World) -> None:
    serving = first.services["ctr"]
    first.status = ModelUpdateStatus()
    first.services["ctr"] = "edited"
    for _ in range(5):
        first.step()
        first.tick(1)
    assert first.status.active and first.status.active.hash == serving
    assert first.services["ctr"] == serving
    assert not first.jobs, "trained anew beside what serves"
