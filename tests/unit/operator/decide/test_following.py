"""Strategy ``Registry`` against the simulated world: versions that were trained elsewhere."""

from __future__ import annotations

import pytest
from simulation import World, following, spec
from stories import ended

from viridian_operator.api.status import Kind, ModelUpdateStatus, Phase
from viridian_operator.decide.observation import PodTrouble
from viridian_operator.decide.window import size

UNGATED = {"data": None, "evaluation": {}}


def condition(world: World, kind: str) -> tuple[str, str] | None:
    return next(((c.status, c.reason) for c in world.status.conditions if c.type == kind), None)


def passes(world: World, count: int = 5) -> None:
    for _ in range(count):
        world.step()
        world.tick(1)


@pytest.fixture
def ungated() -> World:
    """Version 1 serves, without a gate."""
    world = World(spec=following(**UNGATED))
    world.publish()
    world.settle()
    return world


@pytest.fixture
def gated() -> World:
    """Version 1 was judged on events that came after it, and serves."""
    world = World(spec=following())
    world.publish()
    passes(world)
    world.events += 500
    world.settle()
    return world


def publish_and_judge(world: World, verdict: str = "Pass") -> str:
    version = world.publish()
    world.verdicts[version] = verdict
    passes(world)
    world.events += 500
    world.settle()
    return version


def test_a_version_of_the_registry_is_rolled_out_like_a_trained_one(ungated: World) -> None:
    ended(ungated, Phase.SUCCEEDED, "Promoted")
    assert ungated.status.update and ungated.status.update.kind is Kind.FOLLOW
    assert ungated.serving_versions == {"1"}
    assert ungated.aliases == {"challenger": "1", "champion": "1"}
    assert not ungated.jobs_created
    ungated.publish()
    ungated.settle()
    assert ungated.serving_versions == {"2"}
    assert ungated.status.previous and ungated.status.previous.version == "1"
    assert {record.phase for record in ungated.status.update.phases} >= {Phase.VERIFYING, Phase.SCALING, Phase.BAKING}


def test_while_nothing_moves_only_the_alias_is_looked_at(ungated: World) -> None:
    made = ungated.step()
    assert made.wake_off_version == "1"
    assert made.wake_at is None or made.wake_at > ungated.now
    ungated.publish()
    assert ungated.step().wake_off_version is None, "an update is under way, which looks by itself"


def test_a_version_is_judged_on_events_that_it_cannot_have_seen() -> None:
    world = World(spec=following(), events=2000)
    world.publish()
    world.step()
    assert "500 more events" in world.status.message
    assert world.step().wake_at_total == 2500
    world.events += 499
    passes(world)
    assert world.status.update is None
    world.events += 1
    world.step()
    update = world.status.update
    assert update and update.window and update.candidate
    assert update.phase is Phase.EVALUATING
    assert update.window == update.candidate.holdout
    assert update.window.start == {"0": "1000@1-1000", "1": "1000@1-1000"}
    world.settle()
    ended(world, Phase.SUCCEEDED, "Promoted")
    assert world.jobs_created == ["eval-1-1"]
    assert world.versions["1"].tags == {"viridian.verdict": "Pass", "viridian.promoted": "1"}


def test_a_version_that_says_how_far_it_was_trained_is_judged_on_all_behind(gated: World) -> None:
    gated.events += 3000
    version = gated.publish(trained_to={"0": "1250@1-1250", "1": "1900@1-1900"})
    gated.step()
    update = gated.status.update
    assert update and update.window and update.candidate and update.candidate.version == version
    assert update.window.start == {"0": "1250@1-1250", "1": "1900@1-1900"}
    assert size(update.window) == 5500 - 1250 - 1900


@pytest.mark.parametrize("verdict", ["Reject", "Inconclusive"])
def test_a_rejected_version_is_not_tried_again_until_the_alias_moves(gated: World, verdict: str) -> None:
    gated.spec = following(gate={"minEvents": 500, "maxLooks": 1})
    publish_and_judge(gated, verdict)
    assert gated.status.update and gated.status.update.phase is Phase.REJECTED
    gated.events += 5000
    gated.tick(48 * 3600)
    passes(gated)
    assert gated.status.update.number == 2
    assert condition(gated, "Stalled") == ("True", "GivenUp")
    assert gated.serving_versions == {"1"}
    version = publish_and_judge(gated)
    assert gated.serving_versions == {version}
    assert condition(gated, "Stalled") is None


def test_a_rejected_version_is_tried_again_on_request(gated: World) -> None:
    version = publish_and_judge(gated, "Reject")
    gated.verdicts[version] = "Pass"
    gated.request("retry/a")
    gated.settle()
    assert gated.serving_versions == {version}


def test_an_inconclusive_verdict_is_followed_by_a_longer_look(gated: World) -> None:
    publish_and_judge(gated, "Inconclusive")
    first = gated.status.update and gated.status.update.window
    assert gated.status.backoff.looks == 1
    passes(gated)
    assert gated.status.update and gated.status.update.number == 2
    gated.events += 500
    gated.settle()
    assert gated.status.update and gated.status.update.window and first
    assert gated.status.update.number == 3
    assert gated.status.update.window.start == first.start
    assert size(gated.status.update.window) == 1000


def test_a_version_that_fails_its_bake_is_rolled_back_and_never_tried_again(ungated: World) -> None:
    ungated.unhealthy.add("2")
    ungated.publish()
    ungated.settle()
    ended(ungated, Phase.ROLLED_BACK, "HealthCheckFailed")
    ungated.tick(48 * 3600)
    passes(ungated)
    assert ungated.serving_versions == {"1"}
    assert condition(ungated, "Stalled") == ("True", "Quarantined")
    assert ungated.aliases["champion"] == "1"
    ungated.unhealthy.clear()
    ungated.request("unquarantine/2/a")
    ungated.settle()
    assert ungated.serving_versions == {"2"}


def test_what_is_not_the_versions_fault_is_tried_again_after_a_while(ungated: World) -> None:
    ungated.stillborn["2"] = PodTrouble.UNSCHEDULABLE
    ungated.publish()
    ungated.settle()
    ended(ungated, Phase.FAILED, "Unschedulable")
    ungated.stillborn.clear()
    passes(ungated)
    assert ungated.status.update and ungated.status.update.number == 2, "it backs off"
    ungated.tick(3600)
    ungated.settle()
    assert ungated.serving_versions == {"2"}


def test_going_back_on_request_is_not_undone_by_the_alias(ungated: World) -> None:
    ungated.publish()
    ungated.settle()
    ungated.request("rollback/a")
    ungated.settle()
    passes(ungated, 20)
    assert ungated.serving_versions == {"1"}
    assert condition(ungated, "Stalled") == ("True", "Quarantined")


@pytest.mark.parametrize("follow", [{"alias": "nobody-set-it"}, {"version": 9}])
def test_what_is_not_there_stalls_and_serves_on(ungated: World, follow: dict[str, object]) -> None:
    ungated.spec = following(**UNGATED, follow=follow)
    passes(ungated)
    assert condition(ungated, "Stalled") == ("True", "NothingToFollow")
    assert ungated.serving_versions == {"1"}


def test_a_version_can_be_named_by_number(ungated: World) -> None:
    ungated.publish()
    ungated.publish()
    ungated.spec = following(**UNGATED, follow={"version": 2})
    ungated.settle()
    assert ungated.serving_versions == {"2"}


def test_a_registry_that_does_not_answer_changes_nothing(ungated: World) -> None:
    ungated.registry_up = False
    ungated.publish()
    passes(ungated, 20)
    assert ungated.serving_versions == {"1"}
    assert condition(ungated, "Stalled") is None
    assert condition(ungated, "Ready") == ("True", "Serving")
    ungated.registry_up = True
    ungated.settle()
    assert ungated.serving_versions == {"2"}


@pytest.mark.parametrize("verb", ["run", "retrain", "skip-window/no reason"])
def test_nothing_can_be_trained(ungated: World, verb: str) -> None:
    ungated.request(f"{verb}/a")
    passes(ungated)
    assert ungated.status.last_request and ungated.status.last_request.outcome == "Refused"
    assert not ungated.jobs_created


def test_from_trained_to_followed_and_back() -> None:
    world = World()
    world.settle()
    world.spec = following()
    passes(world)
    version = publish_and_judge(world)
    assert world.serving_versions == {version}
    world.spec = spec()
    world.request("run/a")
    world.settle()
    update = world.status.update
    assert update and update.kind is Kind.FULL, "what was trained elsewhere has no watermark to go on from"
    ended(world, Phase.SUCCEEDED, "Promoted")


def test_a_lost_status_is_rebuilt_with_the_champion_to_judge_against(gated: World) -> None:
    gated.status = ModelUpdateStatus()
    passes(gated)
    assert gated.status.champion and gated.status.champion.version == "1"
    assert gated.serving_versions == {"1"}
