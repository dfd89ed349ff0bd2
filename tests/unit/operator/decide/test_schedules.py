"""Schedules: missed times, and the part of the jitter of each ModelUpdate."""

from __future__ import annotations

from datetime import timedelta

from simulation import START, UID, World, spec

from viridian_operator.decide.due import jitter_of


def test_a_schedule_runs_once_for_all_missed_times(first: World) -> None:
    first.spec = first.spec.but(trigger=first.spec.trigger.but(schedule="*/5 * * * *", new_events=None))
    first.step()
    first.events += 50
    first.tick(3600)
    first.run(lambda w: w.status.update is not None and w.status.update.number == 2)
    first.settle()
    assert first.status.next_scheduled and first.status.next_scheduled > first.now


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
