"""What serves loses its pods: the previous revision stands in for it, and updates begin and end around that."""

from __future__ import annotations

import pytest
from simulation import World
from stories import condition, ended, more_events, switched, to_bake

from viridian_operator.api.status import Phase
from viridian_operator.decide.observation import PodTrouble


def test_the_previous_revision_stands_in_for_one_that_lost_all_its_pods(first: World) -> None:
    more_events(first)
    first.settle()
    for pod in first.pods_of("2"):
        pod.broken = PodTrouble.CRASH_LOOP
    for _ in range(6):
        first.step()
        first.tick(1)
    assert first.serving_versions == {"1"}
    assert len(first.pods_of("1")) == 3
    assert first.status.active and first.status.active.version == "2"
    assert condition(first, "Ready") == "False"
    first.pods_of("2")[0].broken = None
    first.step()
    assert first.serving_versions == {"1"}, "an incomplete revision got the traffic back"
    for pod in first.pods_of("2"):
        pod.broken = None
    for _ in range(2):
        first.step()
        first.tick(1)
    assert first.serving_versions == {"2"}
    assert condition(first, "Ready") == "True"


def stand_in_lost_too(world: World) -> None:
    """Version 2 crashes, 1 stands in for it, and crashes as well."""
    more_events(world)
    world.settle()
    for version in ("2", "1"):
        all_crash(world, version)
        for _ in range(3):
            world.step()
            world.tick(1)


def all_crash(world: World, version: str) -> None:
    for pod in world.pods_of(version):
        pod.broken = PodTrouble.CRASH_LOOP


def test_a_stand_in_that_is_lost_too_keeps_the_selector_until_somebody_answers(first: World) -> None:
    stand_in_lost_too(first)
    selected, moves = first.services["ctr"], len(first.switches)
    assert first.status.previous and selected == first.status.previous.hash
    more_events(first)
    first.run(lambda w: any(pod.version == "3" and pod.ready for pod in w.pods.values()))
    for _ in range(3):
        first.step()
    assert (first.services["ctr"], len(first.switches)) == (selected, moves), "moved to pods that do not answer either"
    first.pods_of("2")[0].broken = None
    first.step()
    assert first.status.active and first.services["ctr"] == first.status.active.hash


def test_an_edit_while_a_stand_in_is_down_too_is_undone_towards_the_stand_in(first: World) -> None:
    stand_in_lost_too(first)
    selected = first.services["ctr"]
    more_events(first)
    first.run(lambda w: any(pod.version == "3" and pod.ready for pod in w.pods.values()))
    first.services["ctr"] = "foreign"
    first.step()
    assert first.services["ctr"] == selected, "moved to pods that do not answer either"


@pytest.mark.parametrize("fault", ["edited", "deleted"])
def test_a_stand_in_keeps_traffic_and_size_while_its_service_is_tampered_with_and_an_update_begins(
    first: World, fault: str
) -> None:
    more_events(first)
    first.settle()
    all_crash(first, "2")
    first.step()
    assert first.serving_versions == {"1"}
    stand_in = first.status.previous
    assert stand_in
    more_events(first)
    for _ in range(200):
        if fault == "edited":
            first.services["ctr"] = "foreign"
        else:
            first.services.pop("ctr", None)
            first.recorded.pop("ctr", None)
        first.step()
        assert first.services["ctr"] == stand_in.hash
        assert first.deployments[stand_in.hash].replicas == first.spec.serving.replicas
        if first.status.phase is Phase.PREPARING:
            break
        first.tick(1)
    assert first.status.phase is Phase.PREPARING
    assert first.status.previous == stand_in


def begins(world: World, phase: Phase) -> bool:
    """Whether the next pass enters ``phase``."""
    after = world.clone()
    after.step()
    return after.status.phase is phase


def test_what_could_stand_in_is_kept_if_the_active_one_is_lost_as_an_update_begins(first: World) -> None:
    more_events(first)
    first.settle()
    more_events(first)
    first.run(lambda w: begins(w, Phase.PREPARING))
    all_crash(first, "2")
    first.step()
    assert first.status.phase is Phase.PREPARING
    assert first.serving_versions == {"1"}


def test_an_edit_in_a_rollback_to_pods_that_are_lost_too_is_undone_towards_them(first: World) -> None:
    to_bake(first)
    blue = first.status.previous
    assert blue
    all_crash(first, "2")
    first.run(lambda w: w.services["ctr"] == blue.hash)
    all_crash(first, "1")
    first.services["ctr"] = "foreign"
    assert first.status.phase is Phase.ROLLING_BACK
    first.step()
    assert first.services["ctr"] == blue.hash, "moved to pods that do not answer either"


def test_nothing_stands_in_for_what_was_scaled_to_nothing(first: World) -> None:
    more_events(first)
    first.settle()
    first.spec = first.spec.but(serving=first.spec.serving.but(replicas=0))
    switches = list(first.switches)
    for _ in range(4):
        first.step()
        first.tick(1)
    assert not first.pods_of("2")
    assert first.switches == switches


def test_an_update_that_takes_over_from_a_stand_in_rolls_back_to_it(first: World) -> None:
    more_events(first)
    first.settle()
    for pod in first.pods_of("2"):
        pod.broken = PodTrouble.CRASH_LOOP
    first.unhealthy.add("3")
    more_events(first)
    first.run(lambda w: w.status.phase is Phase.SCALING)
    assert first.serving_versions == {"1"}
    first.run(lambda w: w.status.phase is Phase.BAKING)
    assert first.serving_versions == {"3"}
    first.settle()
    ended(first, Phase.ROLLED_BACK, "HealthCheckFailed")
    assert first.serving_versions == {"1"}


def loses_pods_while_switching(world: World, *versions: str) -> None:
    """All of 2 crash, 1 stands in while 3 gets ready, 2 is back for the switch; then ``versions`` crash."""
    more_events(world)
    world.settle()
    all_crash(world, "2")
    more_events(world)
    world.run(lambda w: w.status.phase is Phase.VERIFYING)
    assert world.serving_versions == {"1"}
    for pod in world.pods_of("2"):
        pod.broken = None
    world.run(lambda w: w.status.phase is Phase.SWITCHING)
    assert world.status.active and world.status.previous and world.status.update
    assert world.status.update.intent and world.status.update.intent.source == world.status.active.hash
    for version in versions:
        all_crash(world, version)


def test_a_stand_in_keeps_its_size_until_the_switch_has_ended(first: World) -> None:
    more_events(first)
    first.settle()
    all_crash(first, "2")
    more_events(first)
    first.run(lambda w: w.serving_versions == {"3"})
    assert first.status.phase is Phase.SWITCHING
    stand_in = first.status.previous
    assert stand_in and stand_in.version == "1"
    all_crash(first, "3")
    for _ in range(3):
        first.step()
        first.tick(1)
        assert first.deployments[stand_in.hash].replicas == 3, "what the traffic goes back to shrank"
    assert first.serving_versions == {"1"}


def test_a_stand_in_keeps_its_size_in_the_switch_whatever_becomes_of_replicas(first: World) -> None:
    more_events(first)
    first.settle()
    all_crash(first, "2")
    more_events(first)
    first.run(lambda w: begins(w, Phase.SWITCHING))
    first.step(crash_after=0)
    stand_in = first.status.previous
    assert stand_in and stand_in.version == "1"
    first.spec = first.spec.but(serving=first.spec.serving.but(replicas=2))
    first.step()
    assert first.deployments[stand_in.hash].replicas == 3


def test_pods_that_are_lost_in_the_switch_are_still_what_a_rollback_goes_to(first: World) -> None:
    loses_pods_while_switching(first, "1", "2")
    first.run(lambda w: w.status.phase is Phase.BAKING)
    assert first.status.previous and first.status.previous.version == "2"
    assert len(first.pods_of("2")) == 3, "nobody answered, and what had the traffic was dropped for what had not"


def test_a_kept_revision_that_answers_stands_by_if_the_other_is_lost_in_the_switch(first: World) -> None:
    loses_pods_while_switching(first, "2")
    first.run(lambda w: w.status.phase is Phase.BAKING)
    assert first.status.previous and first.status.previous.version == "1"
    first.step()
    assert len(first.pods_of("1")) == 3


def test_a_switch_that_took_over_from_a_stand_in_is_given_back_to_it(first: World) -> None:
    more_events(first)
    first.settle()
    all_crash(first, "2")
    switched(first)
    for pod in first.pods.values():
        pod.lost = pod.lost or pod.version == "3"
    first.tick(3600)
    first.step()
    assert first.status.phase is Phase.ROLLING_BACK
    assert first.status.previous and first.status.previous.version == "1"
    assert first.serving_versions == {"1"}


@pytest.fixture
def stood_in(first: World) -> World:
    """Version 2 is active and crashes; version 1 stands in, and a person asks to go back to it."""
    more_events(first)
    first.settle()
    all_crash(first, "2")
    first.step()
    assert first.serving_versions == {"1"}
    first.request("rollback/x")
    return first


def test_going_back_to_what_stands_in_leaves_the_traffic_where_it_is(stood_in: World) -> None:
    selected, moves = stood_in.services["ctr"], len(stood_in.switches)
    stood_in.run(lambda w: w.status.phase is Phase.SCALING)
    for _ in range(100):
        stood_in.step()
        stood_in.tick(1)
        assert stood_in.services["ctr"] == selected
        assert len(stood_in.pods_of("1")) == stood_in.spec.serving.replicas
    ended(stood_in, Phase.SUCCEEDED, "Promoted")
    assert len(stood_in.switches) == moves
    assert stood_in.status.active and stood_in.status.active.version == "1"


def test_what_stands_in_goes_on_when_going_back_to_it_is_aborted(stood_in: World) -> None:
    stood_in.pods_of("1")[0].ready = False
    stood_in.run(lambda w: w.status.phase is Phase.SCALING)
    assert stood_in.status.update
    stood_in.request(f"abort/{stood_in.status.update.number}/y")
    for _ in range(20):
        stood_in.step()
        stood_in.tick(1)
        assert stood_in.serving_versions == {"1"}
    ended(stood_in, Phase.ABORTED, "Aborted")
    assert stood_in.status.previous and stood_in.status.previous.version == "1"


def test_pods_that_are_lost_while_the_way_back_is_prepared_are_stood_in_for(first: World) -> None:
    more_events(first)
    first.settle()
    first.request("rollback/x")
    first.run(lambda w: w.status.phase is Phase.SCALING)
    all_crash(first, "2")
    first.step()
    assert first.serving_versions == {"1"}
    first.settle()
    assert first.serving_versions == {"1"}
    assert first.status.active and first.status.active.version == "1"
