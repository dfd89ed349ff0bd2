"""Every impression becomes exactly one event, with the label that came in time, also if the joiner dies."""

from __future__ import annotations

import json
from typing import Any

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from viridian_trainer.cli.app import app
from viridian_trainer.errors import BadConfig
from viridian_trainer.eventlog.join import JoinState, LabelJoin
from viridian_trainer.eventlog.redis_join import RedisLabelJoin
from viridian_trainer.eventlog.redis_stream import RedisSource

FIELDS = {"id": "id", "time": "ts", "label": "label"}
HORIZON = 10.0


def shown(number: int) -> dict[str, Any]:
    return {"id": f"r{number}", "ts": float(number), "user": "u", "item": f"i{number}"}


def click(number: int, after: float) -> dict[str, Any]:
    return {"id": f"r{number}", "ts": number + after, "label": 1}


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(st.none(), st.floats(0, 20)), min_size=1, max_size=40), st.integers(0, 7))
def test_each_impression_is_decided_once_by_its_label_in_time(delays: list[float | None], lead: int) -> None:
    """Labels come up to ``lead`` impressions before their own, or when their time has come."""
    join, events = LabelJoin(JoinState(), HORIZON, FIELDS), []
    due = sorted((n + (d or 0) - lead * (n % 2), n, d) for n, d in enumerate(delays) if d is not None)
    for number in range(len(delays) + 40):
        while due and due[0][0] <= number:
            _, which, delay = due.pop(0)
            events.append(join.label(click(which, float(delay))))
        events.append(join.impression(shown(number)))
        events += join.expire()
        join = LabelJoin(JoinState(**json.loads(json.dumps(join.state.wire()))), HORIZON, FIELDS)
    decided = {event["id"]: event["label"] for event in events if event}
    assert len(decided) == sum(event is not None for event in events)
    for number, delay in enumerate(delays):
        assert decided[f"r{number}"] == int(delay is not None and delay <= HORIZON)


@pytest.fixture
def source(redis_url: str, client: redis.Redis) -> RedisSource:
    return RedisSource(redis_url, "clicks", 1)


def events_in(client: redis.Redis) -> list[dict[str, Any]]:
    return [json.loads(fields[b"event"]) for _, fields in client.xrange("clicks:0")]  # type: ignore[union-attr]


def test_a_joiner_that_dies_before_it_commits_sends_nothing_twice(source: RedisSource, client: redis.Redis) -> None:
    def append(stream: str, row: dict[str, Any]) -> None:
        client.xadd(f"{stream}:0", {"event": json.dumps(row)})

    for number in range(100):
        append("impressions", shown(number))
        if number % 3 == 0:
            append("labels", click(number, 2.0))
        if number % 20 == 0:
            dying = RedisLabelJoin(source, "impressions", "labels", HORIZON, FIELDS)
            dying._commit = lambda *_: None  # type: ignore[method-assign]
            dying.round("0")
            RedisLabelJoin(source, "impressions", "labels", HORIZON, FIELDS).round("0")
    append("labels", click(3, 2.0))  # a second label, long after the event was sent
    append("labels", {"id": "r99"})
    arguments = ["join", "--redis", source.url, "--horizon", str(HORIZON), "--partitions", "1"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    found = events_in(client)
    assert len(found) == len({event["id"] for event in found})
    assert {event["id"]: event["label"] for event in found if event["label"]} == {
        f"r{number}": 1 for number in range(0, 100, 3)
    }
    waiting = [number for number in range(89, 100) if number % 3]
    assert sorted({f"r{number}" for number in range(100)} - {event["id"] for event in found}) == sorted(
        f"r{number}" for number in waiting
    )
    assert "rejected" in done.output


def test_of_two_joiners_one_is_refused(source: RedisSource, client: redis.Redis) -> None:
    client.xadd("impressions:0", {"event": json.dumps(shown(0))})
    client.xadd("labels:0", {"event": json.dumps(click(0, 1.0))})
    slow, fast = (RedisLabelJoin(source, "impressions", "labels", HORIZON, FIELDS) for _ in range(2))
    commit = slow._commit

    def overtaken(*arguments: Any) -> None:
        fast.round("0")
        commit(*arguments)

    slow._commit = overtaken  # type: ignore[method-assign]
    with pytest.raises(BadConfig, match="another joiner"):
        slow.round("0")
    assert len(events_in(client)) == 1
