"""What goes wrong after the switch: back to what served, what that needs, and where there is nothing to go back to."""

from __future__ import annotations

import pytest
from simulation import World
from stories import condition, ended, more_events, switched, to_bake

from viridian_operator.api.status import Phase
from viridian_operator.decide import decision as act
from viridian_operator.decide.observation import PodTrouble


def test_failed_health_checks_after_the_switch_roll_back_and_quarantine(first: World) -> None:
    first.unhealthy.add("2")
    more_events(first)
    first.settle()
    ended(first, Phase.ROLLED_BACK, "HealthCheckFailed")
    assert first.serving_versions == {"1"}
    assert first.aliases["champion"] == "1"
    assert first.status.champion and first.status.champion.version == "1"
    assert [q.digest for q in first.status.quarantine] == ["sha256:2"]
    assert not first.pods_of("2")
    assert not any(p.retired for p in first.pods_of("1"))
    assert condition(first, "Ready") == "True"


def test_one_crashed_pod_after_the_switch_brings_traffic_back_at_once(first: World) -> None:
    to_bake(first)
    first.pods_of("2")[0].broken = PodTrouble.CRASH_LOOP
    first.step()
    assert first.services["ctr"] == first.status.previous.hash  # type: ignore[union-attr]
    first.settle()
    ended(first, Phase.ROLLED_BACK, "CrashLoop")
    assert first.serving_versions == {"1"}
    assert first.status.quarantine


def test_callers_with_kept_connections_are_sent_away_in_the_pass_that_goes_back(first: World) -> None:
    to_bake(first)
    first.pods_of("2")[0].broken = PodTrouble.CRASH_LOOP
    first.step()
    assert all(p.retired for p in first.pods_of("2") if p.broken is None)
    assert not any(p.retired for p in first.pods_of("1"))


def test_losing_the_node_of_the_new_pods_rolls_back_without_quarantine(first: World) -> None:
    to_bake(first)
    for pod in first.pods_of("2"):
        pod.lost = True
    first.settle()
    ended(first, Phase.ROLLED_BACK, "EndpointsLost")
    assert first.serving_versions == {"1"}
    assert not first.status.quarantine


def test_blue_keeps_its_full_size_until_the_bake_has_ended(first: World) -> None:
    to_bake(first)
    while first.status.phase is Phase.BAKING:
        assert len(first.pods_of("1")) == 3
        first.step()
        first.tick(1)
    assert first.serving_versions == {"2"}


def test_a_rollback_is_owed_while_blue_is_down_and_traffic_stays(first: World) -> None:
    to_bake(first)
    for pod in first.pods_of("1"):
        pod.lost = True
    first.unhealthy.add("2")
    first.run(lambda w: w.status.phase is Phase.ROLLING_BACK)
    for _ in range(5):
        first.step()
        first.tick(1)
    assert first.serving_versions == {"2"}
    for pod in first.pods_of("1"):
        pod.lost = False
    first.settle()
    assert first.serving_versions == {"1"}


def test_a_rollback_without_a_blue_that_returns_ends_and_scales_nothing_down(first: World) -> None:
    to_bake(first)
    for pod in first.pods_of("1"):
        pod.lost = True
    first.unhealthy.add("2")
    first.settle()
    ended(first, Phase.FAILED, "RollbackBlocked")
    assert first.serving_versions == {"2"}


def test_a_first_version_that_fails_its_bake_serves_but_is_not_champion() -> None:
    world = World()
    world.unhealthy.add("1")
    world.settle()
    ended(world, Phase.FAILED, "HealthCheckFailed")
    assert world.serving_versions == {"1"}
    assert world.status.champion is None
    assert "champion" not in world.aliases
    assert not world.status.quarantine
    assert condition(world, "Ready") == "False"
    more_events(world)
    world.settle()
    assert world.serving_versions == {"2"}
    assert world.status.champion and world.status.champion.version == "2"


def test_rollback_needs_no_registry(first: World) -> None:
    to_bake(first)
    first.registry_up = False
    first.unhealthy.add("2")
    first.settle()
    assert first.serving_versions == {"1"}


@pytest.mark.parametrize("cause", ["abort", "deadline"])
def test_what_has_the_traffic_keeps_its_size_while_a_switch_is_taken_back(first: World, cause: str) -> None:
    more_events(first)
    first.run(lambda w: w.status.phase is Phase.SWITCHING)
    assert first.serving_versions == {"2"}
    if cause == "abort":
        first.request("abort/2/x")
        decision = first.step()
    else:
        update = first.status.update
        assert update and update.deadline
        first.status = first.status.but(update=update.but(deadline=first.now))
        for pod in first.pods_of("2"):
            pod.digest = "sha256:other"
        decision = first.step()
    assert first.status.phase is Phase.ROLLING_BACK
    sizes = [each.replicas for each in decision.actions if isinstance(each, act.EnsureRevision)]
    assert sizes == [3, 3]


def test_abort_while_it_bakes_goes_back(first: World) -> None:
    to_bake(first)
    first.request("abort/2/x")
    first.settle()
    ended(first, Phase.ABORTED, "Aborted")
    assert first.serving_versions == {"1"}


def test_rollback_on_request_scales_the_previous_revision_up_first(first: World) -> None:
    more_events(first)
    first.settle()
    assert len(first.pods_of("1")) == 1
    first.request("rollback/x")
    first.settle()
    ended(first, Phase.SUCCEEDED, "Promoted")
    assert first.serving_versions == {"1"}
    assert len(first.pods_of("1")) == 3
    assert first.status.champion and first.status.champion.version == "1"
    assert first.aliases["champion"] == "1"
    assert [q.digest for q in first.status.quarantine] == ["sha256:2"]
    more_events(first)
    assert first.status.update and first.status.update.window
    assert first.status.update.window.start == first.versions["1"].trained_to


def test_an_edit_right_after_the_switch_does_not_undo_it_where_blue_is_down(first: World) -> None:
    more_events(first)
    first.run(lambda w: w.status.update is not None and w.status.update.phase is Phase.SWITCHING)
    active, green = first.status.active, first.status.update and first.status.update.green
    assert active and green
    first.run(lambda w: w.services["ctr"] == green.hash)
    first.services["ctr"] = "foreign"
    for pod in first.pods.values():
        pod.lost = pod.revision == active.hash
    next(pod for pod in first.pods.values() if pod.revision == green.hash).lost = True
    first.step()
    assert first.services["ctr"] == green.hash


def test_traffic_is_not_moved_from_ready_pods_to_none(first: World) -> None:
    more_events(first)
    first.settle()
    previous = first.status.previous
    assert previous
    first.services["ctr"] = previous.hash
    for pod in first.pods_of("2"):
        pod.ready, pod.born = False, first.now
    first.step()
    assert first.serving_versions == {"1"}
    first.tick(5)
    first.step()
    assert first.serving_versions == {"2"}


def test_a_switch_that_was_given_back_keeps_green_at_full_size_while_it_serves(first: World) -> None:
    switched(first)
    for pod in first.pods.values():
        pod.lost = True
    first.tick(3600)
    first.step()
    assert first.status.phase is Phase.ROLLING_BACK
    assert first.status.update and first.status.update.green
    assert first.deployments[first.status.update.green.hash].replicas == 3


@pytest.mark.parametrize("blue", [True, False])
def test_a_switch_that_never_happened_ends_without_one(first: World, blue: bool) -> None:
    world = first if blue else World()
    serving = world.services.get("ctr")
    world.events += 1500
    world.run(lambda w: w.status.phase is Phase.SCALING)
    world.tick(5)
    world.step(crash_after=0)
    assert world.status.phase is Phase.SWITCHING
    world.tick(3600)
    world.step()
    ended(world, Phase.FAILED, "SwitchFailed")
    assert world.services.get("ctr") == serving
    assert not world.status.quarantine


def test_an_abort_before_the_switch_moves_no_traffic(first: World) -> None:
    more_events(first)
    first.run(lambda w: w.status.phase is Phase.SCALING)
    first.tick(5)
    first.step(crash_after=0)
    serving, before = first.services["ctr"], len(first.switches)
    for pod in first.pods_of("1"):
        pod.lost = True  # without a ready endpoint of blue, a rollback would prefer the aborted green
    first.request("abort/2/n")
    first.step()
    ended(first, Phase.ABORTED, "Aborted")
    assert (first.services["ctr"], len(first.switches)) == (serving, before)


def test_a_rollback_does_not_move_back_to_green_when_nothing_is_ready(first: World) -> None:
    first.unhealthy.add("2")
    more_events(first)
    first.run(lambda w: w.status.phase is Phase.ROLLING_BACK)
    blue = first.services["ctr"]
    assert first.status.previous and blue == first.status.previous.hash
    for pod in first.pods.values():
        pod.lost = True
    first.step()
    assert first.services["ctr"] == blue
