"""Attempts of a Job: how they end, and what a queue such as Kueue that suspends them makes of their deadlines."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from simulation import START, World, spec

from viridian_operator.api.conditions import Reason
from viridian_operator.api.status import Attempts, Phase, Update
from viridian_operator.decide.jobs import retry_at
from viridian_operator.decide.observation import JobState, JobView, PodTrouble

TEMPLATE = {"spec": {"containers": [{"name": "trainer", "image": "trainer"}]}}
QUEUED, RUNNING = timedelta(hours=2), timedelta(minutes=10)


NO_RETRIES = {"infrastructure": 0, "code": 0}


def bounded(*, retries: dict[str, int] = NO_RETRIES, **total: str) -> World:
    """A first update whose Jobs may wait for two hours and run for ten minutes, and for ``total`` in all."""
    deadlines = {"queued": "2h", "running": "10m", **total}
    training = {"template": TEMPLATE, "deadlines": deadlines, "retries": retries}
    return World(spec=spec(training=training, evaluation={"deadlines": deadlines}))


@pytest.fixture
def world() -> World:
    """The same without attempts and deadlines of its own."""
    return bounded()


def job(world: World, task: str) -> str:
    return f"{task}-{update(world).number}-1"


def become(world: World, task: str, state: JobState) -> None:
    """What the queue makes of a Job; a pass sees it."""
    world.jobs[job(world, task)] = replace(world.jobs[job(world, task)], state=state)
    world.step()


def update(world: World) -> Update:
    assert world.status.update is not None
    return world.status.update


def runs(world: World, task: str) -> None:
    """Until a pass has seen the Job run."""
    phase = Phase.TRAINING if task == "train" else Phase.EVALUATING
    if task == "eval":
        world.run(lambda w: w.status.phase is phase)
    world.capacity = False
    world.run(lambda w: w.status.update is not None and job(w, task) in w.jobs)
    become(world, task, JobState.RUNNING)
    assert update(world).phase is phase


@pytest.mark.parametrize("task", ["train", "eval"])
def test_preemption_by_the_queue_waits_again_and_costs_no_attempt(world: World, task: str) -> None:
    runs(world, task)
    become(world, task, JobState.SUSPENDED)
    assert update(world).phase is (Phase.QUEUED if task == "train" else Phase.EVALUATING)
    assert "suspended by its queue" in update(world).message
    assert update(world).deadline == world.now + QUEUED
    world.tick(RUNNING.total_seconds() * 2)  # longer than an attempt may run
    world.step()
    assert update(world).running
    become(world, task, JobState.RUNNING)
    assert update(world).deadline == world.now + RUNNING
    world.capacity = True
    world.settle()
    assert update(world).phase is Phase.SUCCEEDED, update(world).message
    assert world.jobs_created == ["train-1-1", "eval-1-1"]


@pytest.mark.parametrize("task", ["train", "eval"])
def test_a_job_that_failed_as_its_queue_suspended_it_is_made_anew_at_no_cost(world: World, task: str) -> None:
    runs(world, task)
    name = job(world, task)
    world.jobs[name] = replace(
        world.jobs[name], state=JobState.FAILED, exit_code=143, disrupted=True, disruption=Reason.SUSPENDED
    )
    world.step()
    attempts = update(world).attempts
    assert (attempts.number, attempts.infrastructure, attempts.code) == (2, 0, 0)
    world.capacity = True
    world.settle()
    assert update(world).phase is Phase.SUCCEEDED, update(world).message


def test_waiting_in_the_queue_ends_at_its_own_deadline(world: World) -> None:
    world.capacity = False
    world.run(lambda w: w.status.update is not None and job(w, "train") in w.jobs)
    become(world, "train", JobState.SUSPENDED)
    assert (update(world).phase, update(world).message) == (Phase.QUEUED, "train-1-1 is suspended by its queue")
    begun = world.now
    world.tick((QUEUED - timedelta(seconds=30)).total_seconds())
    world.step()
    assert update(world).running
    world.tick(60)
    world.step()
    assert world.now - begun < QUEUED + RUNNING
    assert (update(world).phase, update(world).reason) == (Phase.FAILED, "QueueDeadlineExceeded")


def test_running_ends_at_its_own_deadline(world: World) -> None:
    runs(world, "train")
    world.now += RUNNING
    world.step()
    assert (update(world).phase, update(world).reason) == (Phase.FAILED, "DeadlineExceeded")


def preempted_for_ever(world: World, task: str) -> timedelta:
    """A queue that takes a Job's nodes away over and over, each time before a deadline; how long the update lived."""
    begun = world.now
    while update(world).running:
        become(world, task, JobState.SUSPENDED)
        world.now += RUNNING / 2
        if update(world).running:
            become(world, task, JobState.RUNNING)
            world.now += RUNNING / 2
            world.step()
    return world.now - begun


@pytest.mark.parametrize("task", ["train", "eval"])
@pytest.mark.parametrize(
    ("total", "expected"),
    [
        ({"total": "5h"}, timedelta(hours=5)),
        # one attempt is all that the budgets allow
        ({}, QUEUED + RUNNING),
    ],
)
def test_preemption_over_and_over_ends_by_wall_clock_time(
    task: str, total: dict[str, str], expected: timedelta
) -> None:
    world = bounded(**total)
    runs(world, task)
    assert expected - RUNNING <= preempted_for_ever(world, task) <= expected + RUNNING
    assert (update(world).phase, update(world).reason) == (Phase.FAILED, "TotalDeadlineExceeded")
    assert f"{'evaluation' if task == 'eval' else 'training'}.deadlines.total" in update(world).message


def test_attempts_that_fail_over_and_over_end_by_wall_clock_time() -> None:
    world = bounded(retries={"infrastructure": 100, "code": 0}, total="20m")
    failure = JobView(name="x", task="train", number=1, attempt=1, state=JobState.FAILED, exit_code=75)
    world.job_failures[1] = [failure] * 100
    begun = world.now
    world.run(lambda w: w.status.update is not None and not w.status.update.running, seconds=10)
    assert (update(world).phase, update(world).reason) == (Phase.FAILED, "TotalDeadlineExceeded")
    assert timedelta(minutes=20) <= world.now - begun <= timedelta(minutes=21)
    assert "exit code 75" in update(world).message


def test_the_pause_before_an_attempt_is_bounded_however_many_there_were() -> None:
    pauses = [retry_at(Attempts(infrastructure=failures), START) - START for failures in range(101)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == timedelta(minutes=5)


def test_wall_clock_time_goes_on_while_the_operator_is_away() -> None:
    world = bounded(total="1h")
    runs(world, "train")
    ends = update(world).total_deadline
    assert ends == update(world).started_at + timedelta(hours=1)
    become(world, "train", JobState.SUSPENDED)
    assert update(world).total_deadline == ends
    world.tick(3600)
    world.step()
    assert (update(world).phase, update(world).reason) == (Phase.FAILED, "TotalDeadlineExceeded")
    assert update(world).total_deadline is None


def test_a_training_that_ended_in_time_is_heard_also_after_the_deadline() -> None:
    world = bounded(total="1h")
    runs(world, "train")
    world.capacity = True
    world.tick(3600)
    assert world.jobs["train-1-1"].state is JobState.COMPLETE
    world.settle()
    assert update(world).phase is Phase.SUCCEEDED, update(world).message


def test_training_and_evaluation_have_each_their_time(world: World) -> None:
    world.run(lambda w: w.status.phase is Phase.TRAINING)
    training = update(world).total_deadline
    world.run(lambda w: w.status.phase is Phase.EVALUATING)
    assert training is not None and update(world).total_deadline == update(world).phase_since + QUEUED + RUNNING
    world.run(lambda w: w.status.phase is Phase.PREPARING)
    assert update(world).total_deadline is None


def test_a_clock_that_is_set_back_lengthens_no_training() -> None:
    world = bounded(total="1h")
    runs(world, "train")
    left = update(world).total_deadline - world.now  # type: ignore[operator]
    world.now -= timedelta(days=1)
    world.step()
    assert update(world).total_deadline <= world.now + left  # type: ignore[operator]


def test_the_longest_deadlines_have_an_end_that_can_be_written() -> None:
    longest = {"queued": "99999d", "running": "99999d"}
    world = World(spec=spec(training={"template": TEMPLATE, "deadlines": longest, "retries": {"infrastructure": 100}}))
    world.settle()
    assert update(world).phase is Phase.SUCCEEDED


def test_a_volume_that_is_missing_is_waited_for_until_the_deadline(world: World) -> None:
    world.capacity = False
    world.run(lambda w: w.status.update is not None and job(w, "train") in w.jobs)
    text = 'persistentvolumeclaim "checkpoints" not found'
    name = job(world, "train")
    world.jobs[name] = replace(world.jobs[name], trouble=PodTrouble.VOLUME_MISSING, message=text)
    world.step()
    assert (update(world).phase, text in update(world).message) == (Phase.QUEUED, True)
    world.now += QUEUED
    world.step()
    assert (update(world).phase, update(world).reason) == (Phase.FAILED, "VolumeMissing")
    assert text in update(world).message


@pytest.mark.parametrize("task", ["train", "eval"])
def test_what_an_evicted_pod_said_outlives_it(world: World, task: str) -> None:
    """The pod is gone by the time its Job has failed, and with it the only word of the cause."""
    runs(world, task)
    name = job(world, task)
    world.jobs[name] = replace(world.jobs[name], disruption=Reason.EVICTED)
    world.step()
    assert update(world).attempts.disruption == "Evicted"
    world.jobs[name] = replace(world.jobs[name], state=JobState.FAILED, disrupted=True, disruption=None)
    world.step()
    assert (update(world).phase, update(world).reason) == (Phase.FAILED, "Evicted")
    assert name in update(world).message


def test_an_eviction_that_came_to_nothing_blames_nobody(world: World) -> None:
    runs(world, "train")
    name = job(world, "train")
    world.jobs[name] = replace(world.jobs[name], disruption=Reason.EVICTED)
    world.step()
    world.jobs[name] = replace(world.jobs[name], state=JobState.FAILED, exit_code=1, disruption=None)
    world.step()
    assert (update(world).phase, update(world).reason) == (Phase.FAILED, "CodeFailed")


@pytest.mark.parametrize("task", ["train", "eval"])
def test_a_job_that_somebody_deleted_is_named(world: World, task: str) -> None:
    runs(world, task)
    world.jobs.clear()
    world.step()
    assert (update(world).phase, update(world).reason) == (Phase.FAILED, "JobDeleted")
    assert f"ctr-{task}-1-a1" in update(world).message


@pytest.mark.parametrize("task", ["train", "eval"])
def test_the_message_says_whose_failure_it_was(world: World, task: str) -> None:
    runs(world, task)
    name = job(world, task)
    world.jobs[name] = replace(world.jobs[name], state=JobState.FAILED, exit_code=1, message="exit code 1: no such key")
    world.step()
    assert (update(world).phase, update(world).reason) == (Phase.FAILED, "CodeFailed")
    assert f"{name}: exit code 1: no such key" in update(world).message


@pytest.mark.parametrize(
    ("end", "infrastructure", "code"),
    [
        ({"exit_code": 137}, 1, 0),
        ({"exit_code": 143}, 1, 0),
        ({"exit_code": 75, "result": {"error": {"reason": "PeerLost", "message": "gone"}}}, 1, 0),
        ({"exit_code": 1, "disrupted": True, "disruption": Reason.PREEMPTED}, 1, 0),
        ({"exit_code": None, "disrupted": True, "trouble": PodTrouble.INFRASTRUCTURE}, 1, 0),
        ({"exit_code": 1}, 0, 1),
        ({"exit_code": 134}, 0, 1),
        ({"exit_code": 139}, 0, 1),
    ],
)
def test_a_gang_that_ends_is_another_attempt_from_the_budget_of_its_cause(
    end: dict[str, object], infrastructure: int, code: int
) -> None:
    world = World(spec=spec(training={"template": TEMPLATE, "nodes": 4}))
    failure = JobView(name="x", task="train", number=1, attempt=1, state=JobState.FAILED)
    world.job_failures[1] = [replace(failure, **end)]  # type: ignore[arg-type]
    world.run(lambda w: w.status.update is not None and w.status.update.attempts.number == 2)
    attempts = update(world).attempts
    assert (attempts.infrastructure, attempts.code) == (infrastructure, code)
    assert update(world).phase is Phase.QUEUED
    world.settle()
    assert world.jobs_created[:2] == ["train-1-1", "train-1-2"]
    assert update(world).phase is Phase.SUCCEEDED
