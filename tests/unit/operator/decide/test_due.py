"""Which trigger starts an update, and what one does that comes while an update is under way."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from simulation import START, World, spec

from viridian_operator.api.status import Detection, Phase, Update
from viridian_operator.decide import decision as act
from viridian_operator.decide.due import next_time
from viridian_operator.decide.observation import DriftView, MonitorView

AGE = timedelta(hours=1)
MONITOR = {"spec": {"containers": [{"name": "monitor", "image": "trainer"}]}}
SCHEDULE = "0 * * * *"


def served(**trigger: Any) -> World:
    """A world whose first model serves, and that has these triggers."""
    world = World(spec=spec(trigger=trigger), event_age=timedelta())
    world.settle()
    assert world.serving_versions == {"1"}
    return world


def update(world: World) -> Update:
    assert world.status.update
    return world.status.update


def watch(world: World, seconds: float, passes: int = 5) -> None:
    for _ in range(passes):
        world.step()
        world.tick(seconds / passes)


# -- age of the watermark ---------------------------------------------------------------------


def test_one_new_event_is_enough_once_what_serves_is_too_old() -> None:
    world = served(newEvents=1000, watermarkAge="1h")
    world.events += 1
    made = world.step()
    assert update(world).number == 1
    assert world.status.champion and world.status.champion.event_time
    limit = START + AGE
    assert made.wake_at is not None and made.wake_at >= limit, "nothing else tells when it is too old"
    world.now = made.wake_at
    world.step()
    assert (update(world).number, update(world).trigger.kind) == (2, "WatermarkAge")
    assert "newest event of version 1" in update(world).trigger.detail


def test_without_a_new_event_nothing_starts_and_status_says_why() -> None:
    world = served(newEvents=1000, watermarkAge="1h")
    world.tick(2 * 3600)
    made = world.step()
    assert update(world).number == 1
    assert "no event came since" in world.status.message
    assert made.wake_at_total == world.events + 1, "the next event wakes"
    world.events += 1
    world.step()
    assert update(world).number == 2


def test_events_that_are_old_when_they_arrive_start_no_update_each() -> None:
    world = World(spec=spec(trigger={"watermarkAge": "1h"}), event_age=timedelta(hours=10))
    world.settle()
    for _ in range(30):
        world.events += 1
        world.step()
        world.tick(360)
    # three hours, and champions whose newest events are always older than one
    assert world.status.champion and 2 <= update(world).number <= 4


def test_a_version_that_tells_no_time_has_no_age() -> None:
    world = World(spec=spec(trigger={"newEvents": 1000, "watermarkAge": "1h"}))
    world.settle()
    world.tick(9 * 3600)
    world.events += 1
    world.step()
    assert update(world).number == 1
    assert "cannot tell the age of version 1" in world.status.message


def test_the_age_waits_for_the_end_of_a_back_off() -> None:
    world = served(newEvents=1000, watermarkAge="10s")
    world.verdicts["2"] = "Reject"
    world.events += 1
    world.settle()
    assert (update(world).number, update(world).phase) == (2, Phase.REJECTED)
    until = world.status.backoff.until
    assert until
    world.events += 1
    world.tick(20)
    world.step()
    assert update(world).number == 2
    world.now = until
    world.step()
    assert update(world).number == 3


# -- drift ------------------------------------------------------------------------------------


def detection(number: int, world: World, **changes: Any) -> DriftView:
    found = Detection(number=number, event_time=world.now.timestamp(), before=0.52, after=0.71, events=208, version="1")
    return DriftView(detection=found.but(**changes))


@pytest.fixture
def watched() -> World:
    world = served(newEvents=100_000, drift={"template": MONITOR})
    world.monitor = MonitorView(available=True)
    world.step()
    return world


def test_one_update_for_each_detection(watched: World) -> None:
    watched.events += 300
    assert watched.step().wake_off_drift == 0
    watched.drift = detection(1, watched)
    watched.step()
    started = update(watched)
    assert (started.number, started.trigger.kind) == (2, "Drift")
    assert "rose from 0.5200 to 0.7100 in 208 events" in started.trigger.detail
    watched.settle()
    watched.events += 300
    watch(watched, 3600)
    assert update(watched).number == 2, "it has been answered"
    assert watched.step().wake_off_drift == 1
    watched.drift = detection(2, watched)
    watched.step()
    assert update(watched).number == 3


def test_an_update_that_began_after_a_detection_answers_it_whatever_started_it(watched: World) -> None:
    watched.events += 200_000
    watched.drift = detection(1, watched)
    watched.request("run/1")
    watched.settle()
    watch(watched, 3600)
    assert update(watched).number == 2
    assert update(watched).trigger.kind == "Requested"


def test_a_detection_waits_for_the_end_of_a_back_off(watched: World) -> None:
    watched.verdicts["2"] = "Reject"
    watched.events += 300
    watched.drift = detection(1, watched)
    watched.settle()
    assert update(watched).phase is Phase.REJECTED
    watched.events += 300
    watched.drift = detection(2, watched)
    watched.step()
    assert update(watched).number == 2
    assert watched.status.backoff.until
    watched.now = watched.status.backoff.until
    watched.step()
    assert (update(watched).number, update(watched).trigger.kind) == (3, "Drift")


def test_a_lost_status_does_not_answer_a_detection_again(watched: World) -> None:
    seen = detection(1, watched)
    watched.tick(60)
    watched.events += 300
    watched.drift = seen
    watched.settle()
    assert update(watched).number == 2
    watched.status = type(watched.status)()
    watch(watched, 60)
    assert watched.status.champion and watched.status.champion.version == "2"
    watched.events += 300
    watch(watched, 60)
    assert watched.status.update is None or not watched.status.update.running


def test_a_monitor_that_counts_from_one_again_is_believed(watched: World) -> None:
    watched.events += 300
    watched.drift = detection(7, watched)
    watched.settle()
    watched.events += 300
    watched.tick(60)
    watched.drift = detection(1, watched)
    watched.step()
    assert update(watched).number == 3


def test_a_detection_of_before_the_champion_is_none(watched: World) -> None:
    assert watched.status.champion
    watched.drift = detection(1, watched, event_time=watched.status.champion.event_time)
    watched.events += 300
    watch(watched, 60)
    assert update(watched).number == 1


def test_the_monitor_exists_while_drift_is_watched_and_something_serves() -> None:
    world = World(spec=spec(trigger={"newEvents": 1000, "drift": {"template": MONITOR}}))
    assert act.EnsureMonitor() not in world.step().actions, "there is nothing that it could ask"
    world.settle()
    assert act.EnsureMonitor() in world.step().actions
    world.spec = spec()
    assert act.DeleteMonitor() in world.step().actions
    assert not [a for a in world.step().actions if isinstance(a, act.EnsureMonitor | act.DeleteMonitor)]


@pytest.mark.parametrize(
    ("monitor", "drift", "reason"),
    [
        (None, DriftView(), "MonitorNotReady"),
        (MonitorView(available=False, failure="exceeded quota"), DriftView(), "MonitorNotReady"),
        (MonitorView(available=True), DriftView(error="the Service answers 404"), "NoLoss"),
        (MonitorView(available=True), DriftView(), None),
    ],
)
def test_a_drift_that_nobody_watches_is_told(
    watched: World, monitor: MonitorView | None, drift: DriftView, reason: str | None
) -> None:
    watched.monitor, watched.drift = monitor, drift
    watched.step()
    found = next((c for c in watched.status.conditions if c.type == "DriftUnwatched"), None)
    assert (found.reason if found else None) == reason
    assert found is None or found.status == "True"


# -- schedule ---------------------------------------------------------------------------------

BERLIN, NEW_YORK = "Europe/Berlin", "America/New_York"


@pytest.mark.parametrize(
    ("zone", "schedule", "after", "times"),
    [
        # an ordinary day in winter, and one in summer: the same clock on the wall
        (BERLIN, "30 2 * * *", "2026-01-14 12:00", ["2026-01-15 01:30"]),
        (BERLIN, "30 2 * * *", "2026-07-14 12:00", ["2026-07-15 00:30"]),
        (NEW_YORK, "30 2 * * *", "2026-07-14 12:00", ["2026-07-15 06:30"]),
        ("UTC", "30 2 * * *", "2026-03-28 12:00", ["2026-03-29 02:30", "2026-03-30 02:30"]),
        ("Asia/Kolkata", "0 0 1 * *", "2026-05-01 00:00", ["2026-05-31 18:30"]),
        # the clocks go from 02:00 to 03:00: what is set for between comes at once, and nothing comes twice
        (BERLIN, "30 2 * * *", "2026-03-28 12:00", ["2026-03-29 01:00", "2026-03-30 00:30"]),
        (BERLIN, "0,30 2 * * *", "2026-03-28 12:00", ["2026-03-29 01:00", "2026-03-30 00:00"]),
        (BERLIN, "0 3 * * *", "2026-03-28 12:00", ["2026-03-29 01:00", "2026-03-30 01:00"]),
        (BERLIN, "0 * * * *", "2026-03-29 00:30", ["2026-03-29 01:00", "2026-03-29 02:00"]),
        (NEW_YORK, "30 2 * * *", "2026-03-07 12:00", ["2026-03-08 07:00", "2026-03-09 06:30"]),
        # from 03:00 to 02:00: a set time comes once, an hourly one both times
        (BERLIN, "30 2 * * *", "2026-10-24 12:00", ["2026-10-25 00:30", "2026-10-26 01:30"]),
        (BERLIN, "0 3 * * *", "2026-10-24 12:00", ["2026-10-25 02:00", "2026-10-26 02:00"]),
        (BERLIN, "0 * * * *", "2026-10-24 23:30", ["2026-10-25 00:00", "2026-10-25 01:00", "2026-10-25 02:00"]),
        (NEW_YORK, "30 1 * * *", "2026-10-31 12:00", ["2026-11-01 05:30", "2026-11-02 06:30"]),
        # asked for in the hour that comes again
        (BERLIN, "30 2 * * *", "2026-10-25 01:15", ["2026-10-26 01:30"]),
        (BERLIN, "15 1,2,3 * * *", "2026-10-25 01:00", ["2026-10-25 02:15"]),
        (NEW_YORK, "30 1 * * *", "2026-11-01 06:10", ["2026-11-02 06:30"]),
    ],
)
def test_times_of_a_schedule_are_those_of_its_zone(zone: str, schedule: str, after: str, times: list[str]) -> None:
    found = [datetime.fromisoformat(f"{after}+00:00")]
    for _ in times:
        found.append(next_time(schedule, ZoneInfo(zone), found[-1]))
    assert [f"{moment:%Y-%m-%d %H:%M}" for moment in found[1:]] == times
    assert {moment.utcoffset() for moment in found} == {timedelta()}


def test_an_update_in_the_hour_that_comes_again_is_not_followed_by_a_second_one() -> None:
    world = World(spec=spec(trigger={"schedule": "30 2 * * *", "timeZone": BERLIN}))
    world.now = datetime(2026, 10, 24, 12, tzinfo=UTC)
    world.settle()
    world.events += 10
    world.now = datetime(2026, 10, 25, 1, 10, tzinfo=UTC)  # the operator was away at half past two
    world.settle()
    assert update(world).number == 2
    world.events += 10
    watch(world, 3600)
    assert update(world).number == 2
    assert world.status.next_scheduled == datetime(2026, 10, 26, 1, 30, tzinfo=UTC)


@pytest.mark.parametrize("change", [{"schedule": "*/15 * * * *"}, {"time_zone": "Asia/Tokyo"}, {"jitter": AGE}])
def test_a_changed_schedule_counts_at_once(change: dict[str, Any]) -> None:
    world = served(schedule="0 3 1 6 *")
    world.step()
    yearly = world.status.next_scheduled
    world.spec = world.spec.but(trigger=world.spec.trigger.but(**change))
    made = world.step()
    assert yearly and world.status.next_scheduled not in (None, yearly)
    assert made.wake_at == world.status.next_scheduled


def test_a_schedule_that_was_taken_away_is_forgotten() -> None:
    world = served(schedule=SCHEDULE, newEvents=100_000)
    world.step()
    without, scheduled_again = world.spec.trigger.but(schedule=None), world.spec
    world.spec = world.spec.but(trigger=without)
    world.step()
    assert world.status.next_scheduled is None
    world.tick(7200)
    world.events += 10
    world.spec = scheduled_again
    world.step()
    assert update(world).number == 1, "the hours without a schedule were not missed"


# -- concurrency ------------------------------------------------------------------------------


def in_phase(world: World, phase: Phase) -> None:
    """Let an update of one new event come to ``phase``."""
    world.events += 1
    world.request(f"run/{world.now.timestamp()}")
    world.run(lambda w: w.status.update is not None and w.status.update.phase is phase)


def scheduled(concurrency: str, **more: Any) -> World:
    return served(schedule=SCHEDULE, concurrency=concurrency, **more)


def the_hour_comes(world: World) -> None:
    """At once, so that no phase ends meanwhile."""
    world.status = world.status.but(next_scheduled=world.now)
    world.step()


def test_queue_latest_shows_what_waits_and_starts_it_after_the_end() -> None:
    world = scheduled("QueueLatest")
    in_phase(world, Phase.BAKING)
    the_hour_comes(world)
    waiting = world.status.pending_trigger
    assert waiting and waiting.kind == "Schedule"
    assert world.status.next_scheduled and world.status.next_scheduled > world.now
    first_seen = waiting.at
    world.tick(1)
    world.step()
    assert world.status.pending_trigger and world.status.pending_trigger.at == first_seen, "noted once"
    world.events += 10
    the_hour_comes(world)
    assert world.status.pending_trigger and world.status.pending_trigger.at > first_seen, "the latest one waits"
    world.run(lambda w: update(w).number == 3)
    assert update(world).trigger.kind == "Schedule"
    assert world.status.pending_trigger is None


def test_what_waits_does_not_push_out_a_persons_request() -> None:
    world = scheduled("QueueLatest")
    in_phase(world, Phase.BAKING)
    world.request("retrain/7")
    the_hour_comes(world)
    assert world.status.pending_trigger and world.status.pending_trigger.detail == "full"
    world.run(lambda w: update(w).number == 3)
    assert update(world).kind == "Full"


def test_what_waits_does_not_pass_a_back_off_by() -> None:
    world = scheduled("QueueLatest")
    world.verdicts["2"] = "Reject"
    in_phase(world, Phase.EVALUATING)
    the_hour_comes(world)
    world.events += 10
    world.run(lambda w: update(w).phase is Phase.REJECTED)
    until = world.status.backoff.until
    assert until and world.status.pending_trigger
    world.step()
    assert update(world).number == 2
    world.now = until
    world.step()
    assert update(world).number == 3


@pytest.mark.parametrize("phase", [Phase.TRAINING, Phase.EVALUATING, Phase.PREPARING, Phase.VERIFYING])
def test_replace_cuts_an_update_that_is_not_rolled_out_yet(phase: Phase) -> None:
    world = scheduled("Replace")
    in_phase(world, phase)
    world.events += 10
    the_hour_comes(world)
    world.run(lambda w: update(w).number == 3)
    assert [entry.phase for entry in world.status.history][-1] is Phase.SUPERSEDED
    assert world.serving_versions == {"1"}


@pytest.mark.parametrize("phase", [Phase.SCALING, Phase.SWITCHING, Phase.BAKING])
def test_replace_never_cuts_one_that_is_being_rolled_out(phase: Phase) -> None:
    world = scheduled("Replace")
    in_phase(world, phase)
    world.events += 10
    the_hour_comes(world)
    assert update(world).number == 2 and update(world).running
    assert world.status.pending_trigger and world.status.pending_trigger.kind == "Schedule"
    world.run(lambda w: update(w).number == 3)
    assert world.status.history[-1].phase is Phase.SUCCEEDED


def test_replace_does_not_cut_an_update_that_waits_for_approval() -> None:
    world = World(
        spec=spec(
            trigger={"schedule": SCHEDULE, "concurrency": "Replace"},
            rollout={"approval": {"mode": "Manual"}, "bake": {"duration": "30s", "interval": "10s"}},
        )
    )
    world.run(lambda w: w.status.phase is Phase.AWAITING_APPROVAL)
    the_hour_comes(world)
    assert world.status.phase is Phase.AWAITING_APPROVAL


def test_replace_begins_a_persons_request_anew() -> None:
    world = scheduled("Replace")
    world.events += 1
    world.request("retrain/1")
    world.run(lambda w: update(w).phase is Phase.TRAINING)
    world.events += 10
    the_hour_comes(world)
    world.run(lambda w: update(w).number == 3)
    assert (update(world).kind, update(world).trigger.kind) == ("Full", "Requested")


def test_forbid_skips_what_comes_meanwhile_and_says_so() -> None:
    world = scheduled("Forbid")
    in_phase(world, Phase.BAKING)
    the_hour_comes(world)
    assert world.status.pending_trigger is None
    assert [note for note in world.notes if note.reason == "TriggerSkipped"]
    world.run(lambda w: not update(w).running)
    world.events += 10
    watch(world, 600)
    assert update(world).number == 2


@pytest.mark.parametrize(("concurrency", "number"), [("Forbid", 2), ("Replace", 3), ("QueueLatest", 3)])
def test_a_spec_that_changes_meanwhile_is_met_in_the_same_way(concurrency: str, number: int) -> None:
    world = served(newEvents=10_000, onSpecChange=True, concurrency=concurrency)
    in_phase(world, Phase.BAKING)
    world.spec = world.spec.but(gate=world.spec.gate.but(margin=0.5))
    world.step()
    world.events += 10
    world.run(lambda w: not update(w).running)
    watch(world, 60)
    assert update(world).number == number


def test_nothing_is_met_while_updates_are_suspended() -> None:
    world = scheduled("QueueLatest")
    in_phase(world, Phase.BAKING)
    world.spec = world.spec.but(suspend=True)
    the_hour_comes(world)
    assert world.status.pending_trigger is None
    assert update(world).running


# -- where the first window begins -------------------------------------------------------------


def from_offsets(**offsets: str) -> World:
    data = spec().data
    assert data
    wire = data.wire() | {"start": "Offsets", "startOffsets": {key[1:]: value for key, value in offsets.items()}}
    return World(spec=spec(data=wire), trimmed=400)


def test_the_first_window_begins_where_the_spec_says() -> None:
    world = from_offsets(p0="300@1-300", p1="1000@1-1000")
    world.settle()
    assert update(world).window and update(world).window.start == {"0": "300@1-300", "1": "1000@1-1000"}
    assert world.status.origin == {"0": "300@1-300", "1": "1000@1-1000"}
    assert world.serving_versions == {"1"}


@pytest.mark.parametrize(
    ("offsets", "said"),
    [
        ({"p0": "300@1-300"}, "name each of them"),
        ({"p0": "300@1-300", "p1": "1001@1-1001"}, "behind them"),
        ({"p0": "199@1-199", "p1": "300@1-300"}, "trimmed: name 200@0-0 or a later position"),
    ],
)
def test_positions_that_the_log_does_not_have_start_nothing(offsets: dict[str, str], said: str) -> None:
    world = from_offsets(**offsets)
    watch(world, 60)
    assert world.status.update is None
    found = next(c for c in world.status.conditions if c.type == "Stalled")
    assert (found.status, found.reason) == ("True", "InvalidSpec")
    assert said in found.message


def test_what_was_trained_may_be_trimmed_when_status_is_lost() -> None:
    world = from_offsets(p0="300@1-300", p1="300@1-300")
    world.settle()
    world.status = type(world.status)()
    world.trimmed = 1600
    watch(world, 60)
    world.events += 1500
    world.run(lambda w: w.status.update is not None and w.status.update.running)
    assert update(world).kind == "Incremental"
