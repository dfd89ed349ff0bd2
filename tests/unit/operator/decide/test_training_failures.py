"""Trainings that fail, get lost, or wait for their turn: budgets, refusals, back-off."""

from __future__ import annotations

from typing import Any

import pytest
from simulation import World
from stories import condition, ended, more_events

from viridian_operator.api.status import Phase
from viridian_operator.decide.observation import JobState, JobView, PodTrouble, Slot


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
