"""Attempts of a Job: how they end, and what a queue such as Kueue that suspends them makes of their deadlines."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from simulation import World, spec

from viridian_operator.api.conditions import Reason
from viridian_operator.api.status import Phase, Update
from viridian_operator.decide.observation import JobState, JobView, PodTrouble

TEMPLATE = {"spec": {"containers": [{"name": "trainer", "image": "trainer"}]}}
QUEUED, RUNNING = timedelta(hours=2), timedelta(minutes=10)


@pytest.fixture
def world() -> World:
    """A first update whose Jobs may wait for two hours and run for ten minutes."""
    deadlines = {"queued": "2h", "running": "10m"}
    training = {"template": TEMPLATE, "deadlines": deadlines, "retries": {"infrastructure": 0, "code": 0}}
    return World(spec=spec(training=training, evaluation={"deadlines": deadlines}))


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
    world.capacity = False
    world.run(lambda w: w.status.update is not None and job(w, task) in w.jobs)
    become(world, task, JobState.RUNNING)
    assert update(world).phase is phase


@pytest.mark.parametrize("task", ["train", "eval"])
def test_preemption_by_the_queue_waits_again_and_costs_no_attempt(world: World, task: str) -> None:
    if task == "eval":
        world.run(lambda w: w.status.phase is Phase.EVALUATING)
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
    if task == "eval":
        world.run(lambda w: w.status.phase is Phase.EVALUATING)
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
    if task == "eval":
        world.run(lambda w: w.status.phase is Phase.EVALUATING)
    runs(world, task)
    world.jobs.clear()
    world.step()
    assert (update(world).phase, update(world).reason) == (Phase.FAILED, "JobDeleted")
    assert f"ctr-{task}-1-a1" in update(world).message


@pytest.mark.parametrize("task", ["train", "eval"])
def test_the_message_says_whose_failure_it_was(world: World, task: str) -> None:
    if task == "eval":
        world.run(lambda w: w.status.phase is Phase.EVALUATING)
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
