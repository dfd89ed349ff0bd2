"""Updates whose candidates are judged by what they predicted before they trained on it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from simulation import World, spec

from viridian_operator.api.status import Evaluation, Offsets, Phase
from viridian_operator.decide import decision as act


@pytest.fixture
def world() -> World:
    """A world whose first model serves and was judged that way."""
    world = World(spec=spec(gate={"split": "Prequential"}))
    world.settle()
    assert world.status.update and world.status.update.phase is Phase.SUCCEEDED, world.status.update
    return world


def following(world: World) -> None:
    world.events += 1500
    world.run(lambda w: w.status.update is not None and w.status.update.running)


def evaluation_job(world: World) -> act.CreateJob:
    return [made for made in world.log if isinstance(made, act.CreateJob) and made.task == "eval"][-1]


def edit(world: World, **changes: Any) -> None:
    """The training's result and tags say something else from now on."""
    original = world._train

    def train(job: Any) -> dict[str, Any]:
        result = original(job)
        found = world.versions[result["version"]]
        result |= {"predictedFrom": changes["result"]} if "result" in changes else {}
        if "tag" in changes:
            world.versions[result["version"]] = replace(found, predicted_from=changes["tag"])
        return {name: value for name, value in result.items() if value is not None}

    world._train = train  # type: ignore[method-assign]


def test_the_evaluation_gets_the_slice_that_ends_where_training_ended_and_the_untrained_tail(world: World) -> None:
    following(world)
    world.settle()
    update = world.status.update
    assert update and update.candidate and update.candidate.predicted_from
    assert (update.phase, update.split) == (Phase.SUCCEEDED, "Prequential")
    made = evaluation_job(world)
    assert made.predicted and made.holdout
    assert made.predicted.start == update.candidate.predicted_from
    assert made.predicted.end == update.candidate.trained_to == made.holdout.start
    assert world.status.champion and world.status.champion.watermark == made.predicted.end


@pytest.mark.parametrize(
    ("result", "tag", "sentence"),
    [
        (None, {}, "no predictedFrom"),
        ({"0": "700@1-700"}, {"0": "700@1-700"}, "not of every partition"),
        ({"0": "1400@1-1400", "1": "1400@1-1400"}, {"0": "1401@1-1401", "1": "1400@1-1400"}, "another predicted-from"),
    ],
)
def test_a_training_that_does_not_say_what_it_predicted_is_not_judged(
    world: World, result: Offsets | None, tag: Offsets, sentence: str
) -> None:
    edit(world, result=result, tag=tag)
    following(world)
    world.settle()
    assert world.status.update
    assert (world.status.update.phase, world.status.update.reason) == (Phase.FAILED, "ResultMismatch")
    assert sentence in world.status.update.message
    assert world.serving_versions == {"1"}


@pytest.mark.parametrize("full", [False, True])
def test_events_that_the_champion_trained_on_do_not_judge(world: World, full: bool) -> None:
    world.predicts = 900
    if full:
        world.events += 1500
        world.request("retrain/x")
        world.run(lambda w: w.status.update is not None and w.status.update.number == 2)
    else:
        following(world)
    world.settle()
    assert world.status.update
    assert (world.status.update.phase, world.status.update.reason) == (Phase.FAILED, "ResultMismatch")
    assert "the champion has trained on them" in world.status.update.message
    assert world.serving_versions == {"1"}


def test_a_lost_result_is_found_in_the_tags(world: World) -> None:
    original = world._train

    def lost(job: Any) -> Any:
        original(job)

    world._train = lost  # type: ignore[method-assign]
    following(world)
    world.settle()
    assert world.status.update and world.status.update.phase is Phase.SUCCEEDED, world.status.update
    made = evaluation_job(world)
    assert made.predicted and made.predicted.start == world.versions["2"].predicted_from


def test_another_split_counts_from_the_next_update_on(world: World) -> None:
    following(world)
    world.spec = spec(gate={"split": "Holdout"})
    world.settle()
    assert world.status.update and world.status.update.number == 2
    assert world.status.update.phase is Phase.SUCCEEDED
    assert evaluation_job(world).predicted is not None
    following(world)
    world.settle()
    assert world.status.update.number == 3
    assert world.status.update.phase is Phase.SUCCEEDED
    assert evaluation_job(world).predicted is None


def test_numbers_that_cannot_be_told_leave_a_verdict_readable() -> None:
    told = {"verdict": "Inconclusive", "reason": "NotProven"}
    unknown = {"mean": 0.0, "low": None, "high": None}
    found = Evaluation.model_validate({**told, "difference": unknown, "tail": unknown})
    assert found.difference == found.tail == {"mean": 0.0}
