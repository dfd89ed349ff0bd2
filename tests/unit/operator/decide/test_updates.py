"""Whole updates against the simulated world: what callers and people end up with."""

from __future__ import annotations

from datetime import timedelta

import pytest
from simulation import World
from stories import condition, ended, more_events, to_bake

from viridian_operator.api.status import Kind, Phase
from viridian_operator.decide import decision as act
from viridian_operator.decide.observation import PodTrouble


def test_the_first_model_is_trained_gated_and_served(first: World) -> None:
    assert first.serving_versions == {"1"}
    assert len(first.pods_of("1")) == 3
    assert first.aliases == {"champion": "1", "candidate": "1"}
    assert first.status.champion and first.status.champion.watermark == first.versions["1"].trained_to
    assert condition(first, "Ready") == "True"
    assert condition(first, "Reconciling") is None
    assert not first.jobs


def test_new_events_lead_to_an_incremental_update_that_starts_at_the_watermark(first: World) -> None:
    more_events(first)
    first.settle()
    ended(first, Phase.SUCCEEDED, "Promoted")
    assert first.serving_versions == {"2"}
    update = first.status.update
    assert update and update.window
    assert update.kind is Kind.INCREMENTAL
    assert update.window.start == first.versions["1"].trained_to
    assert first.versions["2"].parent == "sha256:1"
    assert first.aliases == {"champion": "2", "previous": "1", "candidate": "2"}
    assert first.status.previous and len(first.pods_of("1")) == 1


def test_too_few_new_events_start_nothing(first: World) -> None:
    first.events += 900
    for _ in range(20):
        first.step()
        first.tick(60)
    assert first.status.update and first.status.update.number == 1


def test_a_secret_that_could_not_be_made_is_tried_again_until_pods_are_ready(first: World) -> None:
    more_events(first)
    first.run(lambda w: bool(w.pods_of("2")))
    first.log.clear()
    first.step()
    assert act.EnsureAdminSecret() in first.log
    first.run(lambda w: w.status.phase is Phase.BAKING)
    first.log.clear()
    first.step()
    assert act.EnsureAdminSecret() not in first.log


def test_a_rejected_candidate_never_starts_a_pod_and_does_not_consume_its_window(first: World) -> None:
    first.verdicts["2"] = "Reject"
    more_events(first)
    first.settle()
    ended(first, Phase.REJECTED, "GateRejected")
    assert first.serving_versions == {"1"}
    assert not first.pods_of("2")
    watermark = first.versions["1"].trained_to
    more_events(first)
    first.settle()
    assert first.status.update and first.status.update.window
    assert first.status.update.window.start == watermark
    assert first.serving_versions == {"3"}


def test_an_inconclusive_window_is_extended_without_backing_off_until_its_looks_are_used_up(first: World) -> None:
    for version in ("2", "3", "4"):
        first.verdicts[version] = "Inconclusive"
    windows = []
    for _ in range(3):
        assert first.status.backoff.until is None
        more_events(first)
        first.settle()
        ended(first, Phase.REJECTED, "Inconclusive")
        assert first.status.update and first.status.update.window
        windows.append(first.status.update.window)
    assert len({tuple(window.start.items()) for window in windows}) == 1
    assert len({tuple(window.end.items()) for window in windows}) == 3
    assert first.status.backoff.until and first.status.backoff.failures == 1
    assert first.status.backoff.looks == 0
    assert first.serving_versions == {"1"}


def test_an_unknown_verdict_is_not_a_pass(first: World) -> None:
    first.verdicts["2"] = "Fine"
    more_events(first)
    first.settle()
    assert first.status.update and first.status.update.phase is Phase.REJECTED


@pytest.mark.parametrize(
    ("trouble", "reason", "quarantined"),
    [
        (PodTrouble.DIGEST_MISMATCH, "DigestMismatch", True),
        (PodTrouble.BAD_BUNDLE, "BadBundle", True),
        (PodTrouble.WARMUP_FAILED, "WarmupFailed", True),
        (PodTrouble.CRASH_LOOP, "CrashLoop", True),
        (PodTrouble.OUT_OF_MEMORY, "OutOfMemory", True),
        (PodTrouble.IMAGE_PULL, "ImagePull", False),
        (PodTrouble.UNSCHEDULABLE, "Unschedulable", False),
        (PodTrouble.VOLUME_MISSING, "VolumeMissing", False),
        (PodTrouble.VOLUME_LOST, "VolumeLost", False),
        (PodTrouble.REGISTRY_UNREACHABLE, "RegistryUnreachable", False),
    ],
)
def test_a_candidate_that_does_not_start_fails_with_its_reason(
    first: World, trouble: PodTrouble, reason: str, quarantined: bool
) -> None:
    first.stillborn["2"] = trouble
    first.graphs["2"] = "another"  # which Auto could not hot swap for want of room
    more_events(first)
    first.run(lambda w: not w.status.update.running, seconds=20)  # type: ignore[union-attr]
    ended(first, Phase.FAILED, reason)
    assert bool(first.status.quarantine) is quarantined
    assert first.serving_versions == {"1"}
    first.settle()
    assert not first.pods_of("2")


@pytest.mark.parametrize("first_is_honest", [False, True])
def test_pods_that_serve_another_digest_never_get_traffic(first: World, first_is_honest: bool) -> None:
    first.liars["2"] = first_is_honest
    more_events(first)
    first.settle()
    ended(first, Phase.FAILED, "IdentityMismatch")
    assert first.serving_versions == {"1"}


def test_the_registry_being_down_delays_and_corrupts_nothing(first: World) -> None:
    more_events(first)
    first.run(lambda w: "2" in w.versions)
    first.registry_up = False
    for _ in range(60):
        first.step()
        first.tick(5)
    assert first.status.update and first.status.update.running
    assert first.serving_versions == {"1"}
    first.registry_up = True
    first.settle()
    assert first.serving_versions == {"2"}


def test_owed_tags_do_not_wake_an_update_that_runs(first: World) -> None:
    to_bake(first)
    assert first.status.owed_tags
    made = first.step()
    assert made.wake_at and (made.wake_at - first.now).total_seconds() > 5


def test_a_quota_that_keeps_pods_from_being_made_is_the_reason(first: World) -> None:
    first.refused["2"] = "exceeded quota: gpus"
    first.graphs["2"] = "another"
    more_events(first)
    first.settle()
    ended(first, Phase.FAILED, "ReplicaFailure")
    assert "exceeded quota: gpus" in first.status.message
    assert first.serving_versions == {"1"}


def test_an_update_is_looked_at_soon_although_no_watch_tells_of_it(first: World) -> None:
    first.events += 1500
    phases = set()
    for _ in range(200):
        made = first.step()
        if made.status.update and made.status.update.running:
            phases.add(made.status.phase)
            assert made.wake_at
            assert made.wake_at - first.now <= timedelta(seconds=10), made.status.phase
        first.tick(1)
    assert {Phase.TRAINING, Phase.EVALUATING, Phase.PREPARING, Phase.SCALING, Phase.BAKING} <= phases


def test_a_clock_that_is_set_back_makes_no_phase_longer(first: World) -> None:
    to_bake(first)
    first.now -= timedelta(hours=2)
    began = first.now
    first.settle()
    ended(first, Phase.SUCCEEDED, "Promoted")
    assert first.now - began < timedelta(minutes=5)


def test_a_clock_that_is_set_back_in_a_long_bake_puts_off_no_check(first: World) -> None:
    bake = first.spec.rollout.bake.but(duration=timedelta(minutes=10))
    first.spec = first.spec.but(rollout=first.spec.rollout.but(bake=bake))
    to_bake(first)
    half_way = first.now + timedelta(minutes=6)
    first.run(lambda w: w.now >= half_way)
    first.now -= timedelta(minutes=5)
    began = first.now
    first.settle()
    ended(first, Phase.SUCCEEDED, "Promoted")
    assert first.now - began < timedelta(minutes=5)


def test_the_registry_hears_of_verdict_and_quarantine_once_it_is_back(first: World) -> None:
    first.unhealthy.add("2")
    more_events(first)
    first.run(lambda w: w.status.phase is Phase.BAKING)
    first.registry_up = False
    first.settle()
    assert first.status.owed_tags
    first.registry_up = True
    first.run(lambda w: not w.status.owed_tags)
    assert first.versions["2"].tags == {"viridian.verdict": "Pass", "viridian.quarantine": "HealthCheckFailed"}
    first.request("unquarantine/2/again")
    first.step()
    first.run(lambda w: not w.status.owed_tags)
    assert first.versions["2"].tags["viridian.quarantine"] == "lifted"


def test_names_that_are_taken_stall_and_nothing_is_touched() -> None:
    world = World(taken=("Service/ctr",))
    for _ in range(5):
        world.step()
        world.tick(1)
    assert condition(world, "Stalled") == "True"
    assert not world.log
