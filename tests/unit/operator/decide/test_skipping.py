"""A log that was trimmed, and windows that people skip: no event is given up that need not be."""

from __future__ import annotations

import json

import pytest
from simulation import World
from stories import condition, ended, more_events

from viridian_operator.api.status import Kind, Phase


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
