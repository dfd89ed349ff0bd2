"""Strategy ``Online`` against the simulated world: chains, anchors, and the way back to the champion."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from online_world import OnlineWorld, online
from simulation import spec

from viridian_operator.api.status import Kind, ModelUpdateStatus, Phase
from viridian_operator.decide.invariants import violations
from viridian_operator.decide.observation import OnlineReport, OnlineTrainerView, PodTrouble

PIN = {"pin": {"version": 1, "reason": "for the test"}}


def condition(world: OnlineWorld, kind: str) -> tuple[str, str] | None:
    return next(((c.status, c.reason) for c in world.status.conditions if c.type == kind), None)


def ended(world: OnlineWorld, kind: Kind, phase: Phase, reason: str) -> None:
    update = world.status.update
    assert update is not None
    assert (update.kind, update.phase, update.reason) == (kind, phase, reason), update.message


@pytest.fixture
def world() -> OnlineWorld:
    """Version 1 is champion, serves, and is trained further."""
    made = OnlineWorld()
    made.settle()
    made.passes()
    return made


def test_the_first_model_is_trained_rolled_out_and_then_trained_further(world: OnlineWorld) -> None:
    ended(world, Kind.FULL, Phase.SUCCEEDED, "Promoted")
    active, told = world.status.active, world.status.online
    assert active and told and world.trainer
    assert active.chain.startswith("ctr-uid-1-1-")
    assert told.chain == world.trainer.chain == active.chain
    assert world.trainer.champion.version == "1"
    assert condition(world, "OnlineTraining") == ("True", "Publishing")
    assert len(told.replicas) == 3
    assert {each.version for each in told.replicas} == {"1"}


def test_figures_are_written_at_once_or_every_half_minute(world: OnlineWorld) -> None:
    world.passes(40)
    written = []
    for _ in range(60):
        before = world.status
        world.step()
        world.tick(1)
        written.append(world.status != before)
    assert 1 <= sum(written) <= 4
    assert world.trainer
    world.trainer.reverts, world.trainer.shadow = 1, True
    before = world.status
    world.step()
    assert world.status != before
    assert condition(world, "OnlineTraining") == ("False", "Shadow")


def test_what_is_published_counts_as_fresh(world: OnlineWorld) -> None:
    world.passes(40)
    assert world.status.fresh_at is not None
    assert (world.now - world.status.fresh_at).total_seconds() < 60


def test_what_serves_is_stale_once_the_trainer_is_too_far_behind(world: OnlineWorld) -> None:
    world.spec = online(freshness={"maxAge": "10m"})
    world.passes(40)
    assert condition(world, "Stale") is None
    assert world.trainer
    world.trainer.stuck_at = world.now
    for _ in range(12):
        world.tick(60)
        world.step()
    assert condition(world, "Stale") == ("True", "TooOld")
    assert world.status.online
    assert world.status.online.lag_seconds >= 600
    assert world.serving_versions == {"1"}


def test_an_anchor_that_passes_is_champion_and_nothing_is_rolled_out(world: OnlineWorld) -> None:
    pods, anchor = set(world.pods), world.anchor()
    reached = world.versions[anchor].trained_to
    world.judge(anchor)
    ended(world, Kind.ANCHOR, Phase.SUCCEEDED, "Promoted")
    champion, active = world.status.champion, world.status.active
    assert champion and active
    assert (champion.version, champion.watermark) == (anchor, reached)
    assert active.version == anchor, "a pod that starts while the store is away loads it"
    assert set(world.pods) == pods
    assert len(world.switches) == 1
    assert world.aliases == {"champion": anchor, "previous": "1", "candidate": "1"}
    assert world.versions[anchor].tags == {"viridian.verdict": "Pass", "viridian.promoted": "2"}
    assert world.head.anchor.version == anchor
    assert world.jobs_created == ["train-1-1", "eval-1-1", "eval-2-1"]
    following = world.anchor()
    world.judge(following)
    assert world.status.champion and world.status.champion.version == following


def test_an_anchor_is_judged_on_events_that_came_after_it(world: OnlineWorld) -> None:
    anchor = world.anchor()
    world.passes()
    assert "judged after 100 more events" in world.status.message
    world.events += 100
    world.step()
    update = world.status.update
    assert update and update.candidate and update.candidate.holdout
    assert update.candidate.version == anchor
    assert update.candidate.holdout.start == world.versions[anchor].trained_to


@pytest.mark.parametrize("trainer_down", [False, True])
@pytest.mark.parametrize("store_up", [True, False])
def test_after_a_rejected_anchor_all_replicas_are_back_at_the_champion(
    world: OnlineWorld, trainer_down: bool, store_up: bool
) -> None:
    anchor = world.anchor()
    world.passes(2)
    assert world.trainer
    world.trainer.down, world.store_up = trainer_down, store_up
    world.judge(anchor, "Reject")
    ended(world, Kind.ANCHOR, Phase.REJECTED, "GateRejected")
    places = [pod.identity.sequence for pod in world.observe().pods if pod.identity]
    assert {place.partition(".")[2] for place in places} == {"0"}
    assert world.status.online and world.status.online.revert is None
    assert world.status.champion and world.status.champion.version == "1"
    assert world.versions[anchor].tags == {"viridian.verdict": "Reject"}
    assert len(world.told_to_revert) <= 3, "each pod was told once at most"
    world.store_up = True
    world.passes()
    assert world.head.epoch == 2, "one epoch was left, however many went back"


def test_training_goes_on_in_the_shadow_until_an_anchor_passes(world: OnlineWorld) -> None:
    world.judge(world.anchor(), "Reject")
    assert condition(world, "OnlineTraining") == ("False", "Shadow")
    told = len(world.told_to_revert)
    world.judge(world.anchor(), "Reject")
    assert len(world.told_to_revert) == told, "replicas are at the champion already"
    passing = world.anchor()
    world.judge(passing)
    assert world.status.champion and world.status.champion.version == passing
    assert condition(world, "OnlineTraining") == ("True", "Publishing")


@pytest.mark.parametrize(
    "changes",
    [
        {"parent": "sha256:other"},
        {"update": "another-uid/online/1.5"},
        {"trained_to": {"0": "1@1-1", "1": "1@1-1"}},
        {"digest": "sha256:x"},
    ],
)
def test_an_anchor_of_another_lineage_is_refused_and_the_trainer_hears_it(
    world: OnlineWorld, changes: dict[str, Any]
) -> None:
    anchor = world.anchor()
    world.versions[anchor] = replace(world.versions[anchor], **changes)
    world.judge(anchor)
    ended(world, Kind.ANCHOR, Phase.FAILED, "ResultMismatch")
    assert world.versions[anchor].tags == {"viridian.verdict": "Inconclusive"}
    assert world.status.champion and world.status.champion.version == "1"
    assert world.trainer and world.trainer.pending is None


def test_an_inconclusive_anchor_brings_replicas_back_where_that_means_rejected(world: OnlineWorld) -> None:
    world.spec = online(gate={"minEvents": 100, "onInconclusive": "Reject"})
    world.judge(world.anchor(), "Inconclusive")
    assert world.versions["2"].tags == {"viridian.verdict": "Reject"}
    assert (world.head.epoch, world.head.n) == (2, 0)


def test_an_inconclusive_anchor_is_given_up_unless_a_person_lets_it_pass(world: OnlineWorld) -> None:
    world.judge(world.anchor(), "Inconclusive")
    assert world.versions["2"].tags == {"viridian.verdict": "Inconclusive"}
    world.spec = online(gate={"minEvents": 100, "onInconclusive": "Hold"})
    world.judge(world.anchor(), "Inconclusive")
    assert world.versions["3"].tags == {}, "nobody has decided"
    number = world.status.update.number if world.status.update else 0
    world.request(f"promote/{number}/a")
    world.passes()
    assert world.status.champion and world.status.champion.version == "3"
    assert world.versions["3"].tags["viridian.verdict"] == "Pass"


def test_an_anchor_that_the_trainer_has_left_meanwhile_is_not_champion(world: OnlineWorld) -> None:
    anchor = world.anchor()
    world.passes(2)
    world.events += 200
    world.run(lambda w: w.status.phase is Phase.EVALUATING)
    world.head.begin(world.head.anchor, "the sequential test says so")
    world.passes(15)
    ended(world, Kind.ANCHOR, Phase.SUPERSEDED, "Superseded")
    assert world.status.champion and world.status.champion.version == "1"
    assert world.versions[anchor].tags == {"viridian.verdict": "Inconclusive"}
    following = world.anchor()
    world.judge(following)
    assert world.status.champion.version == following


def test_an_anchor_that_passes_waits_for_a_trainer_that_says_nothing(world: OnlineWorld) -> None:
    anchor = world.anchor()
    world.passes(2)
    assert world.trainer
    world.trainer.down = True
    world.judge(anchor)
    assert world.status.phase is Phase.EVALUATING
    assert "waiting for the online trainer" in world.status.message
    world.trainer.down = False
    world.passes()
    assert world.status.champion and world.status.champion.version == anchor


def test_a_trainer_that_missed_a_verdict_begins_anew_from_the_champion(world: OnlineWorld) -> None:
    missed = world.anchor()
    world.verdicts[missed] = "Pass"
    world.passes(2)
    world.events += 200
    world.run(lambda w: w.status.phase is Phase.EVALUATING)
    world.registry_up = False
    world.run(lambda w: w.status.champion is not None and w.status.champion.version == missed)
    assert world.trainer
    world.trainer.pending, world.registry_up = None, True
    world.passes()
    world.judge(world.anchor())
    ended(world, Kind.ANCHOR, Phase.FAILED, "ResultMismatch")
    assert world.trainer.champion.version == missed
    assert world.head.anchor.version == missed
    following = world.anchor()
    world.judge(following)
    assert world.status.champion and world.status.champion.version == following


def test_a_verdict_reaches_the_trainer_when_the_registry_is_back(world: OnlineWorld) -> None:
    anchor = world.anchor()
    world.verdicts[anchor] = "Pass"
    world.passes()
    world.events += 200
    world.run(lambda w: w.status.phase is Phase.EVALUATING)
    world.registry_up = False
    world.run(lambda w: w.status.champion is not None and w.status.champion.version == anchor)
    world.passes()
    assert world.trainer and world.trainer.pending
    world.registry_up = True
    world.passes(10)
    assert world.trainer.champion.version == anchor


def test_a_full_training_gets_a_chain_of_its_own_and_the_old_one_is_written_until_it_is_champion(
    world: OnlineWorld,
) -> None:
    assert world.status.active
    old = world.status.active.chain
    world.request("retrain/a")
    world.run(lambda w: w.status.update is not None and w.status.update.phase is Phase.BAKING)
    assert world.status.active.chain != old
    assert world.trainer and world.trainer.chain == old
    before = world.chains[old].n
    world.settle()
    world.passes()
    ended(world, Kind.FULL, Phase.SUCCEEDED, "Promoted")
    assert world.chains[old].n > before
    assert world.status.champion and world.status.champion.version == "2"
    assert world.trainer.chain == world.status.active.chain
    assert world.trainer.champion.version == "2"


def test_a_full_training_that_fails_in_service_gives_back_to_the_old_chain(world: OnlineWorld) -> None:
    assert world.status.active
    old = world.status.active.chain
    world.unhealthy.add("2")
    world.request("retrain/a")
    world.settle()
    world.passes()
    assert world.status.update and world.status.update.phase is Phase.ROLLED_BACK
    assert world.status.active.chain == old
    assert world.trainer and world.trainer.chain == old
    assert world.serving_versions == {"1"}


def test_pods_that_are_made_anew_go_on_in_the_same_chain(world: OnlineWorld) -> None:
    world.judge(world.anchor())
    assert world.status.active and world.trainer
    chain = world.status.active.chain
    world.spec = online(
        serving={"replicas": 3, "template": {"spec": {"containers": [{"name": "server", "image": "server:2"}]}}}
    )
    world.settle()
    ended(world, Kind.REDEPLOY, Phase.SUCCEEDED, "Promoted")
    assert world.status.active.chain == chain
    assert len(world.switches) == 2


def test_another_store_begins_another_chain_at_the_champion(world: OnlineWorld) -> None:
    assert world.status.active
    chain = world.status.active.chain
    world.spec = online(online={"store": {"url": "redis://redis:6379/2"}})
    world.settle()
    world.passes()
    assert world.status.active.chain != chain
    assert world.trainer and world.trainer.chain == world.status.active.chain


def test_a_pin_ends_the_training_and_its_end_goes_on_from_the_champion(world: OnlineWorld) -> None:
    world.judge(world.anchor())
    world.spec = online(**PIN)
    world.settle()
    assert world.trainer is None
    assert world.status.active and world.status.active.chain == ""
    assert world.serving_versions == {"1"}
    world.spec = online()
    world.settle()
    world.passes()
    ended(world, Kind.REDEPLOY, Phase.SUCCEEDED, "Promoted")
    assert world.status.active.version == "2"
    assert world.trainer and world.trainer.champion.version == "2"


def test_suspended_nothing_is_trained_and_what_was_published_serves_on(world: OnlineWorld) -> None:
    world.spec = online(suspend=True)
    head = world.head.sequence
    world.step()
    assert world.trainer is None
    assert condition(world, "OnlineTraining") is None
    world.passes()
    assert world.head.sequence == head
    world.spec = online()
    world.passes()
    assert world.trainer and world.head.n > 0


def test_what_was_trained_in_increments_goes_on_online_and_back() -> None:
    world = OnlineWorld(spec=spec())
    world.settle()
    assert world.status.active and world.status.active.chain == ""
    world.spec = online()
    world.settle()
    world.passes()
    ended(world, Kind.REDEPLOY, Phase.SUCCEEDED, "Promoted")
    assert world.trainer and world.trainer.champion.version == "1"
    world.judge(world.anchor())
    world.spec = spec()
    world.settle()
    world.passes()
    assert world.status.active.chain == ""
    assert world.trainer is None
    assert world.serving_versions == {"2"}, "the last anchor"


def test_a_person_brings_replicas_back_to_the_champion(world: OnlineWorld) -> None:
    world.passes()
    world.request("rollback/a")
    world.passes()
    assert world.head.n == 0
    assert "request rollback/a" in world.head.reason
    assert world.status.last_request and world.status.last_request.outcome == "Accepted"


def test_increments_are_not_to_be_asked_for(world: OnlineWorld) -> None:
    world.request("run/a")
    world.step()
    assert world.status.last_request
    assert "retrain/" in world.status.last_request.message


def test_a_trainer_that_says_nothing_is_told_of(world: OnlineWorld) -> None:
    assert world.trainer
    world.trainer.down = True
    world.step()
    assert condition(world, "OnlineTraining") == ("Unknown", "OnlineTrainerNotReady")
    assert world.serving_versions == {"1"}


def test_after_status_was_lost_the_same_chain_is_written(world: OnlineWorld) -> None:
    world.judge(world.anchor())
    assert world.status.active and world.trainer
    chain, switches = world.status.active.chain, len(world.switches)
    world.status = ModelUpdateStatus()
    world.passes(10)
    assert world.status.champion and world.status.champion.version == "2"
    assert world.status.active.chain == chain
    assert world.trainer and world.trainer.chain == chain
    assert len(world.switches) == switches


def test_a_repair_is_told_at_once_with_what_it_was(world: OnlineWorld) -> None:
    world.passes(40)
    name = next(iter(world.pods))
    world.repaired[name] = "Rows"
    world.step()
    told = world.status.online
    assert told
    assert [(each.repaired, each.damage) for each in told.replicas if each.pod == name] == [(1, "Rows")]
    assert [note.reason for note in world.notes].count("Repaired") == 1


HEAD = {"chain": "ours", "sequence": "1.7", "root": "r"}


@pytest.mark.parametrize(
    ("replicas", "told", "agree"),
    [
        pytest.param([("1.7", "r")] * 3, HEAD, True, id="all as published"),
        pytest.param([("1.7", "r"), ("1.7", "r"), ("1.7", "x")], {}, False, id="one differs, nothing is published"),
        pytest.param([("1.7", "x")], HEAD, False, id="one alone"),
        pytest.param([("1.7", "x")] * 3, HEAD, False, id="all alike"),
        pytest.param([("1.6", "q"), ("1.7", "r"), ("1.8", "s")], HEAD, True, id="late, and asked later"),
        pytest.param([("2.7", "x")] * 3, HEAD, True, id="another epoch"),
        pytest.param([("1.7", "x")] * 3, HEAD | {"chain": "before"}, True, id="the trainer of another chain"),
        pytest.param([("1.7", "x")] * 3, HEAD | {"root": ""}, True, id="no root is told"),
        pytest.param([("1.7", ""), ("1.7", "r")], HEAD, True, id="a pod that tells no root"),
    ],
)
def test_replicas_have_the_root_that_was_published(
    world: OnlineWorld, replicas: list[tuple[str, str]], told: dict[str, str], agree: bool
) -> None:
    assert world.status.active
    seen, ours = world.observe(), world.status.active.chain
    pods = [
        replace(pod, identity=replace(pod.identity, sequence=sequence, root=root))
        for pod, (sequence, root) in zip(seen.pods, replicas, strict=False)
        if pod.identity
    ]
    chain = {"chain": ours if told.get("chain") == "ours" else told.get("chain", "")}
    report = OnlineReport("Publishing", **(told | chain))
    seen = replace(seen, pods=tuple(pods), online=OnlineTrainerView(ours, report=report))
    found = violations(world.spec, world.status, seen)
    assert [each.invariant for each in found] == ([] if agree else ["ReplicasAgree"])


def test_a_candidate_whose_pods_crash_leaves_the_old_chain_alone(world: OnlineWorld) -> None:
    assert world.status.active
    chain = world.status.active.chain
    world.stillborn["2"] = PodTrouble.CRASH_LOOP
    world.request("retrain/a")
    world.settle()
    assert world.status.update and world.status.update.phase is Phase.FAILED
    assert world.status.active.chain == chain
    assert world.trainer and world.trainer.chain == chain
