"""What people ask for: approval, abort, promotion, pins, a run; and a spec that changes under an update."""

from __future__ import annotations

import pytest
from simulation import World, following, spec
from stories import condition, ended, more_events

from viridian_operator.api.spec import ModelUpdateSpec
from viridian_operator.api.status import Phase


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


def test_a_run_without_new_events_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(World, "_before", staticmethod(lambda offset, _: offset))  # nothing is held out
    world = World()
    world.settle()
    world.request("run/now")
    world.step()
    assert any(note.reason == "NoNewData" for note in world.notes)
    assert world.status.update and world.status.update.number == 1


def test_a_request_that_is_too_long_is_answered_once(first: World) -> None:
    first.request(f"skip-window/{'long ' * 80}/x")
    for _ in range(3):
        first.step()
    assert first.status.last_request and first.status.last_request.outcome == "Refused"
    assert sum(note.reason == "Requested" for note in first.notes) == 1
