"""Full, incremental and warm trainings: which one is next, from what, on what, and what the gate compares with."""

from __future__ import annotations

import pytest
from simulation import World, spec
from stories import ended, more_events

from viridian_operator.api.spec import ModelUpdateSpec
from viridian_operator.api.status import Kind, Phase
from viridian_operator.decide import decision as act
from viridian_operator.decide.observation import JobState, JobView, PodTrouble
from viridian_operator.decide.window import size


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
