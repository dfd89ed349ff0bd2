"""Every impression becomes exactly one event, with the label that came in time, also if the joiner dies."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.main import get_command
from typer.testing import CliRunner

from viridian_trainer.cli.app import app
from viridian_trainer.errors import BadConfig, LogUnreachable, Stopped
from viridian_trainer.eventlog import redis_join
from viridian_trainer.eventlog.join import JoinState, LabelJoin
from viridian_trainer.eventlog.redis_join import RedisLabelJoin
from viridian_trainer.eventlog.redis_stream import RedisSource
from viridian_trainer.joiner import Answers, Joiner, follow
from viridian_trainer.stop import StopRequest

FIELDS = {"id": "id", "time": "ts", "label": "label"}
HORIZON = 10.0
EXAMPLE = Path(__file__).parents[3] / "examples" / "delayed-labels" / "joiner.yaml"


def shown(number: int) -> dict[str, Any]:
    return {"id": f"r{number}", "ts": float(number), "user": "u", "item": f"i{number}"}


def click(number: int, after: float) -> dict[str, Any]:
    return {"id": f"r{number}", "ts": number + after, "label": 1}


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(st.none(), st.floats(0, 20)), min_size=1, max_size=40), st.integers(0, 7))
def test_each_impression_is_decided_once_by_its_label_in_time(delays: list[float | None], lead: int) -> None:
    """Labels come up to ``lead`` impressions before their own, or when their time has come."""
    join, events = LabelJoin(JoinState(), HORIZON, FIELDS, now=1e9), []
    due = sorted((n + (d or 0) - lead * (n % 2), n, d) for n, d in enumerate(delays) if d is not None)
    for number in range(len(delays) + 40):
        while due and due[0][0] <= number:
            _, which, delay = due.pop(0)
            events.append(join.label(click(which, float(delay))))
        events.append(join.impression(shown(number)))
        events += join.expire(all_read=bool(number % 2))
    decided = {event["id"]: event["label"] for event in events if event}
    assert len(decided) == sum(event is not None for event in events)
    for number, delay in enumerate(delays):
        assert decided[f"r{number}"] == int(delay is not None and delay <= HORIZON)


@pytest.fixture
def source(redis_url: str, client: redis.Redis) -> RedisSource:
    return RedisSource(redis_url, "clicks", 1)


def events_in(client: redis.Redis) -> list[dict[str, Any]]:
    return [json.loads(fields[b"event"]) for _, fields in client.xrange("clicks:0")]  # type: ignore[union-attr]


def append(client: redis.Redis, stream: str, row: dict[str, Any]) -> None:
    client.xadd(f"{stream}:0", {"event": json.dumps(row)})


def joiner(source: RedisSource, clock: Callable[[], float] | None = None) -> RedisLabelJoin:
    return RedisLabelJoin(source, "impressions", "labels", HORIZON, FIELDS, clock)


def test_a_joiner_that_dies_before_it_commits_sends_nothing_twice(source: RedisSource, client: redis.Redis) -> None:
    for number in range(100):
        append(client, "impressions", shown(number))
        if number % 3 == 0:
            append(client, "labels", click(number, 2.0))
        if number % 20 == 0:
            dying = joiner(source)
            dying._commit = lambda *_: None  # type: ignore[method-assign]
            dying.round("0")
            joiner(source).round("0")
    append(client, "labels", click(3, 2.0))  # a second label, long after the event was sent
    append(client, "labels", {"id": "r99"})
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
    append(client, "impressions", shown(0))
    append(client, "labels", click(0, 1.0))
    slow, fast = (joiner(source) for _ in range(2))
    commit = slow._commit

    def overtaken(*arguments: Any) -> None:
        fast.round("0")
        commit(*arguments)

    slow._commit = overtaken  # type: ignore[method-assign]
    with pytest.raises(BadConfig, match="another joiner"):
        slow.round("0")
    assert len(events_in(client)) == 1


def test_time_goes_on_while_no_impression_comes_but_not_before_all_are_read(
    source: RedisSource, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([50.0, 1000.0, 1007.0, 1009.0, 2000.0, 2000.0])
    work = joiner(source, lambda: next(clock))
    append(client, "labels", click(3, 2.0))
    assert work.round("0")["early"] == 1  # its impression comes later than any horizon
    for number in range(4):
        append(client, "impressions", shown(number))
    assert work.round("0")["joined"] == 1
    assert (work.round("0")["pending"], len(events_in(client))) == (3, 1)
    append(client, "labels", click(1, 4.0))
    counts = joiner(source, lambda: next(clock)).round("0")  # a joiner that was started anew knows it as well
    assert (counts["joined"], counts["expired"], counts["pending"]) == (2, 1, 1)  # r2 has its time until 1009
    monkeypatch.setattr(redis_join, "ROUND", 1)
    for number in (4, 5):
        append(client, "impressions", {**shown(1), "id": f"r{number}"})
    assert [joiner(source, lambda: next(clock)).round("0")["pending"] for _ in range(2)] == [2, 0]


def test_rows_that_cannot_be_read_are_dead_letters_with_their_reason(source: RedisSource, client: redis.Redis) -> None:
    append(client, "labels", {"id": "r1", "ts": 1.0, "label": 3})
    append(client, "labels", {"id": "r1"})
    append(client, "impressions", {"ts": 1.0})
    client.xadd("impressions:0", {"event": "{"})
    dying = joiner(source)
    dying._commit = lambda *_: None  # type: ignore[method-assign]
    dying.round("0")
    assert joiner(source).round("0")["rejected"] == 4
    dead = {name: client.xrange(f"{name}:dead") for name in ("impressions", "labels")}
    reasons = {name: [fields[b"reason"].decode() for _, fields in found] for name, found in dead.items()}  # type: ignore[union-attr]
    assert reasons == {
        "labels": ["field 'label' must be 0 or 1", "field 'ts' must be seconds since the epoch"],
        "impressions": ["field 'id' must be a string or an integer", "field event is not JSON"],
    }


def test_a_round_writes_what_changed_and_nothing_else(source: RedisSource, client: redis.Redis) -> None:
    work, changes = joiner(source, lambda: 1000.0), []

    def written() -> int:
        before = int(client.info("persistence")["rdb_changes_since_last_save"])  # type: ignore[index]
        work.round("0")
        return int(client.info("persistence")["rdb_changes_since_last_save"]) - before  # type: ignore[index]

    for number in range(300):
        append(client, "impressions", {**shown(0), "id": f"r{number}"})
    changes = [written(), written()]
    append(client, "labels", click(7, 1.0))
    changes.append(written())
    assert changes == [301, 0, 3]  # the head; then also an event, and the impression that waits no more


def test_a_joiner_begins_where_a_trimmed_stream_does(source: RedisSource, client: redis.Redis) -> None:
    for number in range(100):
        append(client, "impressions", shown(number))
    client.xtrim("impressions:0", maxlen=40, approximate=False)
    assert sum(joiner(source, lambda: 1e9).round("0").get(name, 0) for name in ("pending", "expired")) == 40


def test_credentials_come_from_the_environment_alone(
    source: RedisSource, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.acl_setuser("joiner", enabled=True, passwords=["+hidden"], keys=["*"], categories=["+@all"])
    client.acl_setuser("default", enabled=True, nopass=True, keys=[], categories=["-@all", "+@connection"])
    append_as = redis.Redis.from_url(source.url, username="joiner", password="hidden")
    try:
        append(append_as, "impressions", shown(0))
        rest = ["--horizon", "1", "--partitions", "1"]
        told = CliRunner().invoke(app, ["join", "--redis", source.url.replace("//", "//joiner:hidden@"), *rest])
        assert told.exit_code == 64 and "VIRIDIAN_REDIS_PASSWORD" in told.output and "hidden" not in told.output
        assert CliRunner().invoke(app, ["join", "--redis", source.url, *rest]).exit_code == 78
        monkeypatch.setenv("VIRIDIAN_REDIS_USERNAME", "joiner")
        monkeypatch.setenv("VIRIDIAN_REDIS_PASSWORD", "hidden")
        done = CliRunner().invoke(app, ["join", "--redis", source.url, *rest])
        assert done.exit_code == 0, done.output
    finally:
        append_as.acl_setuser("default", enabled=True, nopass=True, keys=["*"], categories=["+@all"])
        append_as.close()


def test_metrics_tell_how_rows_ended_and_what_waits(source: RedisSource, client: redis.Redis) -> None:
    for number in range(3):
        append(client, "impressions", shown(number))
    append(client, "labels", click(1, 1.0))
    work = Joiner(joiner(source), 1)
    work.round()
    code, _, body = Answers(work).to("/metrics")
    assert code == 200
    assert b'viridian_join_rows_total{outcome="joined",partition="0"} 1.0' in body
    assert b'viridian_join_waiting{kind="pending",partition="0"} 2.0' in body
    assert Answers(work).to("/healthz")[0] == 200


def test_a_joiner_outlives_a_redis_that_is_away(
    source: RedisSource, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(client, "impressions", shown(0))
    append(client, "labels", click(0, 1.0))
    work, stop = joiner(source), StopRequest()
    heads, tries = work._shown.heads, iter([LogUnreachable("away"), None])

    def shaky() -> dict[str, str]:
        if problem := next(tries):
            raise problem
        stop.request()
        return heads()

    work._shown.heads = shaky  # type: ignore[method-assign]
    monkeypatch.setattr("viridian_trainer.joiner.PAUSE_SECONDS", 0.001)
    with pytest.raises(Stopped):
        follow(Joiner(work, 1), None, stop)
    assert [event["label"] for event in events_in(client)] == [1]


def test_the_example_is_a_restricted_deployment_that_the_command_understands() -> None:
    documents = yaml.safe_load_all(EXAMPLE.read_text())
    (deployment,) = [each for each in documents if each["kind"] == "Deployment"]
    spec = deployment["spec"]
    assert (spec["replicas"], spec["strategy"]["type"]) == (1, "Recreate")  # a second joiner would be refused
    pod = spec["template"]["spec"]
    assert spec["selector"]["matchLabels"].items() <= spec["template"]["metadata"]["labels"].items()
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    (container,) = pod["containers"]
    security = container["securityContext"]
    assert security["readOnlyRootFilesystem"] is True
    assert security["allowPrivilegeEscalation"] is False
    assert security["capabilities"] == {"drop": ["ALL"]}
    secrets = {each["name"] for each in container["env"] if "secretKeyRef" in each.get("valueFrom", {})}
    assert secrets == {"VIRIDIAN_REDIS_USERNAME", "VIRIDIAN_REDIS_PASSWORD"}
    name, *arguments = container["args"]
    command = get_command(app).commands[name]  # type: ignore[attr-defined]
    given = command.make_context(name, list(arguments)).params
    assert given["go_on"] is True
    (port,) = container["ports"]
    assert given["port"] == port["containerPort"]
    assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": port["name"]}
