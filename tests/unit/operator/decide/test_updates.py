"""Whole updates against the simulated world: what callers and people end up with."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from simulation import START, UID, World, following, spec

from viridian_operator.api.spec import ModelUpdateSpec
from viridian_operator.api.status import Kind, ModelUpdateStatus, Phase
from viridian_operator.decide import decision as act
from viridian_operator.decide.due import jitter_of
from viridian_operator.decide.observation import JobState, JobView, PodTrouble, Slot
from viridian_operator.decide.window import size


@pytest.fixture
def first() -> World:
    """A world whose first model serves and is champion."""
    world = World()
    world.settle()
    assert world.status.update and world.status.update.phase is Phase.SUCCEEDED
    return world


def more_events(world: World, count: int = 1500) -> None:
    world.events += count
    world.run(lambda w: w.status.update is not None and w.status.update.running)


def condition(world: World, kind: str) -> str | None:
    return next((c.status for c in world.status.conditions if c.type == kind), None)


def ended(world: World, phase: Phase, reason: str) -> None:
    update = world.status.update
    assert update is not None
    assert (update.phase, update.reason) == (phase, reason), update.message


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


def to_bake(world: World) -> None:
    more_events(world)
    world.run(lambda w: w.status.phase is Phase.BAKING)


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


def train_failure(**end: Any) -> JobView:
    return JobView(name="x", task="train", number=2, attempt=1, state=JobState.FAILED, **end)


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        ({"exit_code": 65, "result": {"error": {"reason": "BadData", "message": "no label"}}}, "BadData"),
        ({"exit_code": 65, "result": {"error": {"reason": "DataTrimmed", "message": "gone"}}}, "DataTrimmed"),
        ({"exit_code": 78}, "BadConfiguration"),
        ({"exit_code": 64}, "BadUsage"),
        ({"exit_code": 137, "trouble": PodTrouble.OUT_OF_MEMORY}, "OutOfMemory"),
    ],
)
def test_failures_that_another_attempt_would_not_change_end_the_update(
    first: World, end: dict[str, Any], reason: str
) -> None:
    first.job_failures[2] = [train_failure(**end)]
    more_events(first)
    first.settle()
    ended(first, Phase.FAILED, reason)
    assert first.serving_versions == {"1"}


def test_infrastructure_and_code_have_budgets_of_their_own(first: World) -> None:
    first.job_failures[2] = [train_failure(exit_code=75)] * 5 + [train_failure(exit_code=1)] * 2
    more_events(first)
    first.run(lambda w: not w.status.update.running, seconds=30)  # type: ignore[union-attr]
    ended(first, Phase.SUCCEEDED, "Promoted")
    assert [n for n in first.jobs_created if n.startswith("train-2")] == [f"train-2-{k}" for k in range(1, 9)]


def test_code_failures_beyond_the_budget_end_the_update(first: World) -> None:
    first.job_failures[2] = [train_failure(exit_code=1)] * 9
    more_events(first)
    first.run(lambda w: not w.status.update.running, seconds=30)  # type: ignore[union-attr]
    ended(first, Phase.FAILED, "CodeFailed")
    assert len([n for n in first.jobs_created if n.startswith("train-2")]) == 3


def test_a_job_that_was_deleted_is_not_created_again_but_the_next_attempt_is(first: World) -> None:
    more_events(first)
    first.run(lambda w: w.status.phase is Phase.TRAINING)
    first.jobs.clear()
    first.settle()
    ended(first, Phase.SUCCEEDED, "Promoted")
    assert "train-2-2" in first.jobs_created


def test_a_version_with_another_window_is_refused(first: World) -> None:
    more_events(first)
    first.run(lambda w: "2" in w.versions)
    from dataclasses import replace

    first.versions["2"] = replace(first.versions["2"], parent="sha256:somebody")
    first.settle()
    ended(first, Phase.FAILED, "ResultMismatch")
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


def test_rollback_needs_no_registry(first: World) -> None:
    to_bake(first)
    first.registry_up = False
    first.unhealthy.add("2")
    first.settle()
    assert first.serving_versions == {"1"}


def test_repeated_rejections_back_off_and_then_wait_for_a_person(first: World) -> None:
    first.verdicts |= {str(n): "Reject" for n in range(2, 30)}
    for _ in range(5):
        more_events(first)
        first.settle()
    assert first.status.backoff.failures == 5
    first.events += 1500
    for _ in range(50):
        first.step()
        first.tick(3600)
    assert condition(first, "Stalled") == "True"
    assert first.serving_versions == {"1"}
    first.verdicts.clear()
    first.request("retry/1")
    first.run(lambda w: w.status.update is not None and w.status.update.running)
    first.settle()
    assert first.status.update and first.status.update.phase is Phase.SUCCEEDED


def test_a_changed_template_redeploys_the_same_version_without_training(first: World) -> None:
    first.spec = with_image(first.spec, "server:2")
    first.run(lambda w: w.status.update is not None and w.status.update.number == 2)
    first.settle()
    ended(first, Phase.SUCCEEDED, "Promoted")
    assert first.status.update and first.status.update.kind is Kind.REDEPLOY
    assert first.serving_versions == {"1"}
    assert len(first.switches) == 2
    assert first.status.champion and first.status.champion.version == "1"


def with_image(old: ModelUpdateSpec, image: str) -> ModelUpdateSpec:
    serving = old.serving.but(template={"spec": {"containers": [{"name": "server", "image": image}]}})
    return old.but(serving=serving)


def test_a_failed_redeploy_blocks_the_template_and_not_the_digest(first: World) -> None:
    first.unhealthy.add("1")
    first.spec = with_image(first.spec, "server:bad")
    first.run(lambda w: w.status.update is not None and w.status.update.number == 2)
    first.settle()
    ended(first, Phase.ROLLED_BACK, "HealthCheckFailed")
    assert not first.status.quarantine
    for _ in range(10):
        first.step()
        first.tick(60)
    assert first.status.update and first.status.update.number == 2
    assert condition(first, "Stalled") == "True"
    first.unhealthy.clear()
    first.request("retry/1")
    first.run(lambda w: w.status.update is not None and w.status.update.number == 3)
    first.settle()
    ended(first, Phase.SUCCEEDED, "Promoted")


def test_a_failed_template_is_told_also_when_updates_failed_before(first: World) -> None:
    first.verdicts |= {str(n): "Reject" for n in range(2, 30)}
    for _ in range(5):
        more_events(first)
        first.settle()
    first.unhealthy.add("1")
    first.spec = with_image(first.spec, "server:bad")
    first.run(lambda w: w.status.update is not None and w.status.update.number == 7)
    first.settle()
    stalled = next(c for c in first.status.conditions if c.type == "Stalled")
    assert stalled.reason == "RevisionFailed"


def test_taking_back_a_template_that_failed_changes_nothing(first: World) -> None:
    good = first.spec
    first.unhealthy.add("1")
    first.spec = with_image(first.spec, "server:bad")
    first.run(lambda w: w.status.update is not None and w.status.update.number == 2)
    first.settle()
    first.unhealthy.clear()
    first.spec = good
    for _ in range(5):
        first.step()
        first.tick(60)
    assert first.status.update and first.status.update.number == 2
    assert condition(first, "Stalled") is None
    first.spec = with_image(first.spec, "server:better")
    first.run(lambda w: w.status.update is not None and w.status.update.number == 3)
    first.settle()
    ended(first, Phase.SUCCEEDED, "Promoted")


def test_a_changed_number_of_replicas_is_no_update(first: World) -> None:
    first.spec = first.spec.but(serving=first.spec.serving.but(replicas=5))
    for _ in range(5):
        first.step()
        first.tick(2)
    assert len(first.pods_of("1")) == 5
    assert first.status.update and first.status.update.number == 1


def test_green_starts_at_the_present_size_of_blue(first: World) -> None:
    first.deployments[first.status.active.hash].replicas = 6  # type: ignore[union-attr]
    first.tick(1)
    first.spec = first.spec.but(serving=first.spec.serving.but(replicas=6))
    more_events(first)
    first.run(lambda w: w.status.phase is Phase.SWITCHING)
    assert len(first.pods_of("2")) == 6


def test_manual_approval_waits_and_stale_numbers_are_refused() -> None:
    world = World(spec=spec(rollout={"approval": {"mode": "Manual"}, "bake": {"duration": "20s", "interval": "10s"}}))
    world.run(lambda w: w.status.phase is Phase.AWAITING_APPROVAL)
    world.request("approve/7/x")
    world.step()
    assert world.status.last_request and world.status.last_request.outcome == "Refused"
    assert world.status.phase is Phase.AWAITING_APPROVAL
    world.request("approve/1/x")
    world.settle()
    assert world.serving_versions == {"1"}


def test_nobody_approving_in_time_rejects() -> None:
    world = World(spec=spec(rollout={"approval": {"mode": "Manual", "expiresAfter": "1h"}}))
    world.run(lambda w: w.status.phase is Phase.AWAITING_APPROVAL)
    world.run(lambda w: not w.status.update.running, seconds=120)  # type: ignore[union-attr]
    ended(world, Phase.REJECTED, "ApprovalExpired")
    assert not world.services.get("ctr")


@pytest.mark.parametrize("phase", [Phase.QUEUED, Phase.TRAINING, Phase.EVALUATING, Phase.PREPARING, Phase.SCALING])
def test_abort_before_the_switch_leaves_what_serves_alone(first: World, phase: Phase) -> None:
    more_events(first)
    first.run(lambda w: w.status.phase is phase, seconds=0.5)
    first.request("abort/2/x")
    first.settle()
    ended(first, Phase.ABORTED, "Aborted")
    assert first.serving_versions == {"1"}
    assert not first.pods_of("2")
    assert not first.jobs


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


def test_promote_overrides_an_inconclusive_verdict_and_is_recorded() -> None:
    world = World(spec=spec(gate={"onInconclusive": "Hold"}))
    world.verdicts["1"] = "Inconclusive"
    world.run(lambda w: w.status.update is not None and w.status.update.evaluation is not None)
    world.step()
    assert world.status.phase is Phase.EVALUATING
    world.request("promote/1/x")
    world.settle()
    assert world.serving_versions == {"1"}
    assert world.status.update and world.status.update.evaluation
    assert world.status.update.evaluation.overridden_by == "promote/1/x"


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


def test_a_pin_serves_exactly_that_version_and_trains_nothing(first: World) -> None:
    more_events(first)
    first.settle()
    first.spec = ModelUpdateSpec.model_validate(first.spec.wire() | {"pin": {"version": 1, "reason": "regression"}})
    first.run(lambda w: w.status.update is not None and w.status.update.number == 3)
    first.settle()
    assert first.serving_versions == {"1"}
    first.events += 9000
    for _ in range(10):
        first.step()
        first.tick(60)
    assert first.status.update and first.status.update.number == 3
    assert first.status.champion and first.status.champion.version == "2"
    first.spec = spec()
    first.run(lambda w: w.status.update is not None and w.status.update.number == 4)
    assert first.status.update.parent and first.status.update.parent.version == "2"


def test_a_pin_to_a_version_that_was_pinned_before_is_rolled_out_again(first: World) -> None:
    pinned = ModelUpdateSpec.model_validate(first.spec.wire() | {"pin": {"version": 1, "reason": "regression"}})
    for number in (2, 4):
        first.spec = spec()
        more_events(first)
        first.settle()
        first.spec = pinned
        first.run(lambda w, after=number: w.status.update is not None and w.status.update.number == after + 1)
        first.settle()
        assert first.serving_versions == {"1"}


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


def test_a_pin_to_a_missing_version_stalls_and_changes_nothing(first: World) -> None:
    first.spec = ModelUpdateSpec.model_validate(first.spec.wire() | {"pin": {"version": 99, "reason": "typo here"}})
    for _ in range(3):
        first.step()
        first.tick(5)
    assert condition(first, "Stalled") == "True"
    assert first.serving_versions == {"1"}


@pytest.mark.parametrize("phase", [Phase.QUEUED, Phase.TRAINING])
def test_a_training_whose_section_is_gone_ends(first: World, phase: Phase) -> None:
    more_events(first)
    first.run(lambda w: w.status.update is not None and w.status.update.phase is phase, seconds=0.1)
    first.spec = following()
    first.settle()
    ended(first, Phase.FAILED, "InvalidSpec")
    assert first.serving_versions == {"1"}


def test_suspend_starts_nothing(first: World) -> None:
    first.spec = first.spec.but(suspend=True)
    first.events += 5000
    for _ in range(10):
        first.step()
        first.tick(60)
    assert first.status.update and first.status.update.number == 1


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


def test_owed_tags_do_not_wake_an_update_that_runs(first: World) -> None:
    to_bake(first)
    assert first.status.owed_tags
    made = first.step()
    assert made.wake_at and (made.wake_at - first.now).total_seconds() > 5


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


def test_a_quota_that_keeps_pods_from_being_made_is_the_reason(first: World) -> None:
    first.refused["2"] = "exceeded quota: gpus"
    first.graphs["2"] = "another"
    more_events(first)
    first.settle()
    ended(first, Phase.FAILED, "ReplicaFailure")
    assert "exceeded quota: gpus" in first.status.message
    assert first.serving_versions == {"1"}


@pytest.mark.parametrize(("before", "phase"), [(Phase.IDLE, Phase.QUEUED), (Phase.TRAINING, Phase.EVALUATING)])
def test_a_job_that_was_seen_waiting_and_then_deleted_is_another_attempt(
    first: World, before: Phase, phase: Phase
) -> None:
    first.events += 1500
    first.run(lambda w: w.status.phase is before)
    first.capacity = False
    first.run(lambda w: w.status.phase is phase and w.status.update is not None and w.status.update.attempts.seen)
    first.jobs.clear()
    first.capacity = True
    first.settle()
    ended(first, Phase.SUCCEEDED, "Promoted")
    assert len(first.jobs_created) == len(set(first.jobs_created)) == 5


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


def test_numbers_of_jobs_that_outlived_a_lost_status_are_not_used_again(first: World) -> None:
    more_events(first)
    first.run(lambda w: w.status.phase is Phase.TRAINING)
    first.status = ModelUpdateStatus()
    more_events(first)
    assert first.status.update and first.status.update.number == 3


def test_a_run_without_new_events_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(World, "_before", staticmethod(lambda offset, _: offset))  # nothing is held out
    world = World()
    world.settle()
    world.request("run/now")
    world.step()
    assert any(note.reason == "NoNewData" for note in world.notes)
    assert world.status.update and world.status.update.number == 1


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


def test_an_edited_selector_and_a_deleted_deployment_are_restored(first: World) -> None:
    active = first.status.active
    assert active
    first.services["ctr"] = "somebody"
    first.deployments.pop(active.hash)
    first.step()
    assert first.services["ctr"] == active.hash
    assert active.hash in first.deployments


def test_a_trimmed_log_stalls_instead_of_losing_events(first: World) -> None:
    first.events += 5000
    first.trimmed = 6000
    for _ in range(5):
        first.step()
        first.tick(10)
    assert condition(first, "Stalled") == "True"
    assert first.status.update and first.status.update.number == 1
    first.request("retrain/x")
    first.run(lambda w: w.status.update is not None and w.status.update.number == 2)
    assert first.status.update.kind is Kind.FULL
    assert first.status.update.parent is None
    # what judges must be new to the champion as well
    assert first.status.update.fresh == first.versions["1"].trained_to


def test_every_nth_update_is_a_full_one() -> None:
    training = spec().training
    assert training
    world = World(spec=spec(training=training.wire() | {"fullRetrainEvery": 2}))
    kinds = []
    for _ in range(4):
        world.settle()
        assert world.status.update
        kinds.append(world.status.update.kind)
        more_events(world)
    assert kinds == [Kind.FULL, Kind.INCREMENTAL, Kind.FULL, Kind.INCREMENTAL]


@pytest.fixture
def anchored() -> World:
    """Every third update starts from nothing; the next one does."""
    training = spec().training
    assert training
    world = World(spec=spec(training=training.wire() | {"fullRetrainEvery": 3}))
    world.settle()
    for _ in range(2):
        more_events(world)
        world.settle()
    return world


def reference(world: World) -> str | None:
    return world.status.reference.version if world.status.reference else None


def kind_of_next(world: World) -> Kind:
    more_events(world)
    world.settle()
    assert world.status.update
    return world.status.update.kind


def test_candidates_are_held_against_the_last_full_version_that_was_promoted(anchored: World) -> None:
    judged = [job.reference for job in anchored.log if isinstance(job, act.CreateJob) and job.task == "eval"]
    assert [version.version if version else None for version in judged] == [None, "1", "1"]
    assert reference(anchored) == "1", "increments do not move it"
    assert kind_of_next(anchored) is Kind.FULL
    assert (anchored.serving_versions, reference(anchored)) == ({"4"}, "4")
    assert kind_of_next(anchored) is Kind.INCREMENTAL
    judged = [job.reference for job in anchored.log if isinstance(job, act.CreateJob) and job.task == "eval"]
    assert judged[-1] and judged[-1].version == "4"


@pytest.mark.parametrize("end", ["rejected", "failed", "rolled back"])
def test_a_full_update_that_comes_to_nothing_keeps_no_increment_waiting(anchored: World, end: str) -> None:
    match end:
        case "rejected":
            anchored.verdicts["4"] = "Reject"
        case "failed":
            anchored.job_failures[4] = [JobView("j", "train", 4, 1, JobState.FAILED, trouble=PodTrouble.OUT_OF_MEMORY)]
        case _:
            anchored.unhealthy.add("4")
    kinds = [kind_of_next(anchored) for _ in range(4)]
    assert kinds == [Kind.FULL, Kind.INCREMENTAL, Kind.INCREMENTAL, Kind.FULL]
    assert anchored.status.champion and anchored.serving_versions == {anchored.status.champion.version}
    assert reference(anchored) == anchored.status.champion.version, "the second one was promoted"


def test_a_full_update_that_is_not_told_apart_looks_again_as_a_full_one(anchored: World) -> None:
    anchored.verdicts["4"] = "Inconclusive"
    assert [kind_of_next(anchored) for _ in range(3)] == [Kind.FULL, Kind.FULL, Kind.INCREMENTAL]
    assert reference(anchored) == "5"


def test_a_full_update_that_a_person_stopped_is_still_due(anchored: World) -> None:
    more_events(anchored)
    anchored.run(lambda w: w.status.phase is Phase.TRAINING)
    anchored.request("abort/4/x")
    anchored.settle()
    ended(anchored, Phase.ABORTED, "Aborted")
    assert kind_of_next(anchored) is Kind.FULL


def test_the_reference_goes_back_with_the_champion(anchored: World) -> None:
    assert kind_of_next(anchored) is Kind.FULL
    anchored.request("rollback/x")
    anchored.settle()
    assert anchored.serving_versions == {"3"}
    assert reference(anchored) == "3", "nothing is held against a version in quarantine"


def test_periodic_trains_from_nothing_and_on_its_schedule_only(first: World) -> None:
    trigger = {"schedule": "0 3 * * *"}
    first.spec = ModelUpdateSpec.model_validate(first.spec.wire() | {"strategy": "Periodic", "trigger": trigger})
    first.events += 5000
    for _ in range(5):
        first.step()
        first.tick(60)
    assert first.status.update and first.status.update.number == 1
    first.run(lambda w: w.status.update is not None and w.status.update.number == 2, seconds=600)
    assert first.status.update.kind is Kind.FULL
    assert first.status.update.parent is None


@pytest.fixture
def warm() -> World:
    """A first model that a schedule trains on, every fourth time from nothing."""
    training = spec().training
    assert training
    begins = training.wire() | {"start": "Warm", "fullRetrainEvery": 4}
    data = spec().data
    assert data
    replayed = data.wire() | {"replay": {"ratio": 1.0}}
    world = World(spec=spec(strategy="Periodic", trigger={"schedule": "0 3 * * *"}, training=begins, data=replayed))
    world.settle()
    return world


def the_night_comes(world: World) -> None:
    number = world.status.update.number if world.status.update else 0
    world.run(lambda w: w.status.update is not None and w.status.update.number > number, seconds=600)
    world.settle()


def test_a_warm_periodic_update_trains_the_champion_on_what_came_since(warm: World) -> None:
    assert warm.status.update and warm.status.update.kind is Kind.FULL, "there is no champion to start with"
    warm.events += 5000
    warm.run(lambda w: any(job.number == 2 for job in w.jobs.values()), seconds=600)
    update = warm.status.update
    assert update and update.window and update.parent
    assert (update.kind, update.trigger.kind, update.parent.version) == (Kind.INCREMENTAL, "Schedule", "1")
    assert update.window.start == warm.versions["1"].trained_to
    made = next(action for action in warm.log if isinstance(action, act.CreateJob) and action.update.number == 2)
    assert made.parent == update.parent
    warm.settle()
    assert warm.serving_versions == {"2"}


def test_warm_periodic_updates_start_from_nothing_every_nth_time(warm: World) -> None:
    kinds = []
    for _ in range(5):
        warm.events += 100
        the_night_comes(warm)
        assert warm.status.update
        kinds.append(warm.status.update.kind)
    assert kinds == [*[Kind.INCREMENTAL] * 3, Kind.FULL, Kind.INCREMENTAL]


def test_a_schedule_runs_once_for_all_missed_times(first: World) -> None:
    first.spec = first.spec.but(trigger=first.spec.trigger.but(schedule="*/5 * * * *", new_events=None))
    first.step()
    first.events += 50
    first.tick(3600)
    first.run(lambda w: w.status.update is not None and w.status.update.number == 2)
    first.settle()
    assert first.status.next_scheduled and first.status.next_scheduled > first.now


def test_names_that_are_taken_stall_and_nothing_is_touched() -> None:
    world = World(taken=("Service/ctr",))
    for _ in range(5):
        world.step()
        world.tick(1)
    assert condition(world, "Stalled") == "True"
    assert not world.log


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


def switched(world: World) -> None:
    """Until the Service selects the new revision, in phase Switching."""
    more_events(world)
    world.run(lambda w: w.status.phase is Phase.SWITCHING)
    assert world.services["ctr"] == world.status.update.green.hash  # type: ignore[union-attr]


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


def test_skipping_after_a_trim_gives_up_only_what_is_lost(first: World) -> None:
    watermark = first.versions["1"].trained_to
    first.events += 5000
    first.trimmed = 6000
    first.step()
    assert condition(first, "Stalled") == "True"
    first.request("skip-window/retention was a day/a")
    first.step()
    assert first.status.last_request and first.status.last_request.outcome == "Accepted"
    (gap,) = first.status.gaps
    assert (gap.start, gap.end) == (watermark, {"0": "3000@0-0", "1": "3000@0-0"})
    assert (gap.events, gap.reason) == (6000 - 1800, "retention was a day")
    first.settle()
    ended(first, Phase.SUCCEEDED, "Promoted")
    update = first.status.update
    assert update and update.window
    assert update.kind is Kind.INCREMENTAL
    assert update.parent and update.parent.version == "1"
    assert update.window.start == update.fresh == gap.end
    assert condition(first, "Stalled") is None
    assert json.loads(first.versions["2"].tags["viridian.gaps"])[0]["reason"] == "retention was a day"


def test_skipping_after_rejections_gives_up_the_window_that_was_tried(first: World) -> None:
    first.verdicts["2"] = "Reject"
    more_events(first)
    first.settle()
    tried = first.status.update and first.status.update.window
    assert tried
    first.events += 10
    first.request("skip-window/bots/3 May/a")
    first.step()
    assert any(note.reason == "WindowSkipped" and note.severity == "Warning" for note in first.notes)
    assert first.status.backoff.failures == 0
    more_events(first)
    first.settle()
    update = first.status.update
    assert update and update.window and update.window.start == tried.end
    assert first.serving_versions == {"3"}
    assert first.status.gaps[0].reason == "bots/3 May"
    more_events(first)
    assert "viridian.gaps" not in first.versions["1"].tags
    assert first.status.update and first.status.update.window
    assert first.status.update.window.start == first.versions["3"].trained_to


def test_windows_skipped_one_after_the_other_add_up(first: World) -> None:
    for number in ("2", "3"):
        first.verdicts[number] = "Reject"
        more_events(first)
        first.settle()
        first.request(f"skip-window/bad labels/{number}")
        first.step()
    more_events(first)
    first.settle()
    update = first.status.update
    assert update and update.window and len(first.status.gaps) == 2
    assert update.window.start == first.status.gaps[1].end == first.versions["3"].window.end  # type: ignore[union-attr]
    assert len(json.loads(first.versions["4"].tags["viridian.gaps"])) == 2


def test_the_first_window_of_all_can_be_skipped() -> None:
    world = World(verdicts={"1": "Reject"})
    world.settle()
    tried = world.status.update and world.status.update.window
    world.request("skip-window/test data/a")
    more_events(world)
    assert world.status.update and world.status.update.window and tried
    assert world.status.update.window.start == tried.end
    world.settle()
    ended(world, Phase.SUCCEEDED, "Promoted")


def test_going_back_to_before_a_gap_trains_on_its_events_after_all(first: World) -> None:
    more_events(first)
    first.settle()
    first.verdicts["3"] = "Reject"
    more_events(first)
    first.settle()
    first.request("skip-window/bad labels/a")
    first.step()
    first.request("rollback/b")
    first.settle()
    assert first.status.champion and first.status.champion.version == "1"
    more_events(first)
    assert first.status.update and first.status.update.window
    assert first.status.update.window.start == first.versions["1"].trained_to


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ("skip-window/x", "say why"),
        ("skip-window//x", "say why"),
        ("skip-window/nothing was tried/x", "nothing is lost"),
    ],
)
def test_nothing_is_skipped_without_reason_or_need(first: World, request_: str, said: str) -> None:
    first.request(request_)
    first.step()
    last = first.status.last_request
    assert last and last.outcome == "Refused" and said in last.message
    assert not first.status.gaps


def test_no_window_is_skipped_while_an_update_runs(first: World) -> None:
    more_events(first)
    first.request("skip-window/bad labels/x")
    first.step()
    assert first.status.last_request and first.status.last_request.outcome == "Refused"
    assert not first.status.gaps


def test_a_request_that_is_too_long_is_answered_once(first: World) -> None:
    first.request(f"skip-window/{'long ' * 80}/x")
    for _ in range(3):
        first.step()
    assert first.status.last_request and first.status.last_request.outcome == "Refused"
    assert sum(note.reason == "Requested" for note in first.notes) == 1


def test_the_first_window_holds_the_newest_events_and_later_ones_begin_where_it_did() -> None:
    data = spec().data
    assert data
    world = World(spec=spec(data=data.wire() | {"maxEvents": 301}), events=2000)
    world.settle()
    update = world.status.update
    assert update and update.window
    assert size(update.window) == 301
    assert update.window.start == {"0": "849@1-849", "1": "850@1-850"}
    more_events(world)
    world.settle()
    assert world.status.update and world.status.update.window
    assert world.status.update.window.start == world.versions["1"].trained_to
    world.request("retrain/a")
    world.settle()
    assert world.status.update and world.status.update.window
    assert world.status.update.window.start == update.window.start


def test_a_training_waits_for_its_turn_and_says_so(first: World) -> None:
    first.slot = Slot(limit=2, ahead=1)
    more_events(first)
    for _ in range(5):
        first.step()
        first.tick(1)
    assert first.status.phase is Phase.QUEUED and not first.jobs
    assert "one of 2 trainings" in first.status.message and "1 updates wait" in first.status.message
    first.slot = Slot(limit=2, held=True)
    first.settle()
    ended(first, Phase.SUCCEEDED, "Promoted")


def test_waiting_for_a_turn_ends_at_the_deadline_of_queued(first: World) -> None:
    first.slot = Slot(limit=1)
    more_events(first)
    first.tick(3601)
    first.step()
    ended(first, Phase.FAILED, "TrainingSlots")


def test_jobs_of_one_schedule_start_at_times_of_their_own_within_the_jitter(first: World) -> None:
    trigger = {"schedule": "0 * * * *", "jitter": "10m"}
    first.spec = spec(trigger=trigger)
    first.step()
    late = jitter_of(UID, timedelta(minutes=10))
    first.events += 50
    starts = []
    for number in (2, 3):
        first.run(lambda w, n=number: w.status.update is not None and w.status.update.number == n, seconds=5)
        assert first.status.update
        starts.append(first.status.update.started_at)
        first.settle()
        first.events += 50
    for hour, start in enumerate(starts):
        assert timedelta(0) <= start - (START + timedelta(hours=hour) + late) <= timedelta(seconds=5)


def test_jitter_is_spread_over_all_of_its_time() -> None:
    parts = sorted(jitter_of(f"uid-{n}", timedelta(minutes=10)).total_seconds() for n in range(200))
    assert 0 <= parts[0] < 30 and 570 < parts[-1] < 600
    assert 240 < parts[100] < 360
    assert jitter_of("uid-1", None) == timedelta(0)
