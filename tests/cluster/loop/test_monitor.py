"""A model that becomes worse in service is noticed by its monitor, and trained anew."""

from __future__ import annotations

import pytest

from loop.appending import Stream
from loop.manifests import NAME, trainer
from loop.serving import condition, ended, last_number, serve_first
from loop.space import Space
from loop.waiting import until


@pytest.fixture(scope="module", autouse=True)
def model(space: Space, stream: Stream) -> None:
    """Serves, is watched, and trains on nothing but drift."""
    template = trainer(resources={"requests": {"cpu": "50m"}, "limits": {"memory": "512Mi"}})
    serve_first(space, stream, trigger={"newEvents": 1_000_000, "drift": {"template": template}})


def test_labels_that_turn_round_start_one_update(space: Space, stream: Stream) -> None:
    until(lambda: not condition(space.status(NAME), "DriftUnwatched"), 180, "the monitor to run")
    number = last_number(space) + 1
    stream.append(1500)
    stream.append(800, flipped=True)
    with space.follow(NAME) as following:
        record, status = ended(following, number)
    assert record["trigger"] == "Drift"
    assert "log loss of version" in status["update"]["trigger"]["detail"]
    assert status["drift"]["after"] > status["drift"]["before"]
    assert status["drift"]["number"] == 1


def test_the_monitor_goes_with_the_trigger(space: Space) -> None:
    space.kubectl("patch", "mu", NAME, "--type=json", "-p", '[{"op": "remove", "path": "/spec/trigger/drift"}]')
    space.wait_for(f"deployment/{NAME}-drift", "delete", 60)
