"""Duplicates, late and unreadable events of each training are in status, whatever came of it."""

from __future__ import annotations

from typing import Any

import pytest
from simulation import World

from viridian_operator.api.status import Phase
from viridian_operator.decide.observation import JobState, JobView

COUNTS = {"trained": 900, "holdout": 100, "duplicates": 5, "late": 4, "rejected": 3}


class Counting(World):
    """Its trainings tell counts."""

    def _train(self, job: JobView) -> dict[str, Any]:
        return super()._train(job) | {"events": COUNTS}


def test_counts_of_a_training_are_in_status_history_and_an_event() -> None:
    world = Counting()
    world.settle()
    assert world.status.update and world.status.update.candidate
    assert world.status.update.candidate.events == COUNTS
    assert world.status.history[-1].events == COUNTS
    (told,) = [note.message for note in world.notes if note.reason == "Trained"]
    assert "900 events, 4 of them late, 5 duplicates left out" in told
    assert "3 unreadable entries left out, kept in stream clicks:dead" in told


@pytest.mark.parametrize("events", [{"rejected": 40}, None, 3, {"rejected": "many"}])
def test_too_many_unreadable_entries_fail_the_update_and_are_counted(events: Any) -> None:
    message = "40 of 100 entries are unreadable, data.maxRejected allows 0.01: …; they are kept in stream clicks:dead"
    result = {"task": "Train", "error": {"reason": "BadData", "message": message}, "events": events}
    end = JobView("j", "train", 1, 1, JobState.FAILED, exit_code=65, result=result)
    world = World(job_failures={1: [end]})
    world.settle()
    entry = world.status.history[-1]
    assert (entry.phase, entry.reason) == (Phase.FAILED, "BadData")
    assert "clicks:dead" in entry.message
    assert entry.events == ({"rejected": 40} if events == {"rejected": 40} else {})
