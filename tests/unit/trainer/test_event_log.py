"""Event logs hold exactly what their offsets promise, in one order."""

from __future__ import annotations

import json
from contextlib import nullcontext, suppress
from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from worlds import parquet, rows

from viridian_model.schema import Schema
from viridian_trainer.errors import BadConfig, DataTrimmed, LogUnreachable
from viridian_trainer.eventlog import Window, check_present, count_before, read
from viridian_trainer.eventlog.dedup import RecentIds, Watermark
from viridian_trainer.eventlog.log import Record, passing
from viridian_trainer.eventlog.parquet import ParquetEventLog
from viridian_trainer.eventlog.redis_stream import CHUNK, RedisEventLog, RedisSource
from viridian_trainer.eventlog.schema import Unreadable, parse
from viridian_trainer.publish import to_redis

SCHEMA = Schema(categorical=("user", "item", "hour"))


@pytest.fixture
def source(redis_url: str, client: redis.Redis) -> RedisSource:
    return RedisSource(redis_url, "clicks", 2)


def append(source: RedisSource, first: int, count: int) -> None:
    to_redis(source, rows(first, count), None, lambda _: None)


def test_redis_windows_are_contiguous_and_exact(source: RedisSource) -> None:
    log = RedisEventLog(source)
    assert log.heads() == {"0": "0@0-0", "1": "0@0-0"}
    positions = [log.heads()]
    for first in (0, 3000):
        append(source, first, 3000)
        positions.append(log.heads())
    windows = [Window(a, b) for a, b in pairwise(positions)]
    found = [[entry.event.id for entry in read(log, window, SCHEMA) if entry.event] for window in windows]
    assert sum(map(len, found)) == 6000 > 2 * CHUNK
    assert sorted(found[0] + found[1]) == sorted(row["id"] for row in rows(0, 6000))
    assert [window.total for window in windows] == [3000, 3000]
    last = {entry.partition: entry.offset_after for entry in read(log, windows[1], SCHEMA)}
    assert last == log.heads()


@pytest.mark.parametrize("damage", ["trimmed", "deleted inside", "replaced", "emptied"])
def test_missing_entries_of_a_window_are_found(source: RedisSource, client: redis.Redis, damage: str) -> None:
    append(source, 0, 500)
    log = RedisEventLog(source)
    start = log.heads()
    append(source, 500, 500)
    window = Window(start, log.heads())
    if damage == "trimmed":
        client.xtrim("clicks:0", maxlen=window.count("0") - 1, approximate=False)
    elif damage == "deleted inside":
        entry = client.xrevrange("clicks:0", count=3)[-1][0]  # type: ignore[index]
        client.xdel("clicks:0", entry)
    else:
        client.delete("clicks:0")
        if damage == "replaced":
            append(source, 0, 600)
    with pytest.raises(DataTrimmed):
        list(read(log, window, SCHEMA))
    if damage != "deleted inside":
        with pytest.raises(DataTrimmed):
            check_present(log, window)


def test_trimming_before_the_window_does_no_harm(source: RedisSource, client: redis.Redis) -> None:
    append(source, 0, 400)
    log = RedisEventLog(source)
    start = log.heads()
    append(source, 400, 400)
    window = Window(start, log.heads())
    client.xtrim("clicks:0", maxlen=window.count("0"), approximate=False)
    check_present(log, window)
    assert len(list(read(log, window, SCHEMA))) == window.total
    earliest = log.earliest()["0"]
    assert count_before(earliest) == count_before(start["0"])
    assert len(list(log.records("0", earliest, window.end["0"]))) == window.count("0")


def sent(client: redis.Redis) -> int:
    """Bytes that Redis has answered so far."""
    return int(client.info("stats")["total_net_output_bytes"])  # type: ignore[index]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_single_redis_entries_are_those_of_a_whole_reading(
    source: RedisSource, client: redis.Redis, data: st.DataObject
) -> None:
    """Whatever is indexed yet, and for every part of the log, also with several entries in one millisecond."""
    client.flushall()
    log, positions = RedisEventLog(source), ["0@0-0"]
    for count in data.draw(st.lists(st.integers(1, 70), min_size=1, max_size=6)):
        with client.pipeline() as appended:
            for number in range(count):
                appended.xadd("clicks:0", {"event": str(number)})
            appended.execute()
        positions.append(log.heads()["0"])
        start = data.draw(st.sampled_from(positions[:-1]))
        size = count_before(positions[-1]) - count_before(start)
        places = sorted(data.draw(st.sets(st.integers(0, size - 1))))
        again = list(log.at("0", start, positions[-1], places))
        assert again == list(passing(log, "0", start, positions[-1], places))
        assert len(again) == len(places)


def test_single_redis_entries_cost_no_whole_reading_once_they_are_indexed(
    source: RedisSource, client: redis.Redis
) -> None:
    append(source, 0, 20_000)
    log = RedisEventLog(source)
    costs = []
    for _ in range(2):
        end = log.heads()["0"]
        before = sent(client)
        places = range(0, count_before(end), 500)
        assert [record.number for record in log.at("0", "0@0-0", end, places)] == list(places)
        costs.append(sent(client) - before)
        append(source, 20_000, 100)
    assert costs[1] < costs[0] / 10


@pytest.mark.parametrize("damage", ["trimmed", "deleted inside", "replaced", "read only", "index lost", "mark moved"])
def test_single_redis_entries_are_right_or_missing_but_never_others(
    source: RedisSource, client: redis.Redis, damage: str
) -> None:
    append(source, 0, 2000)
    log, places = RedisEventLog(source), list(range(0, 900, 7))
    end = log.heads()["0"]
    before = list(log.at("0", "0@0-0", end, places))
    if damage == "trimmed":
        client.xtrim("clicks:0", minid=before[40].offset_after.partition("@")[2], approximate=False)
    elif damage == "deleted inside":
        client.xdel("clicks:0", before[60].offset_after.partition("@")[2])
    elif damage == "replaced":
        client.delete("clicks:0")
        append(source, 5000, 2000)
        end = log.heads()["0"]
    elif damage == "read only":
        client.delete("clicks:index:0")
        client.acl_setuser("reader", enabled=True, nopass=True, keys=["*"], categories=["-@all", "+@read"])
        log = RedisEventLog(replace(source, username="reader", password="any"))
    elif damage == "mark moved":
        client.zadd("clicks:index:0", {before[16].offset_after.partition("@")[2]: 96})
        client.zrem("clicks:index:0", client.zrange("clicks:index:0", 112, 112, byscore=True)[0])  # type: ignore[index]
        before, places = before[14:15], places[14:15]
    else:
        client.delete("clicks:index:0")
    found = []
    with pytest.raises(DataTrimmed) if damage == "trimmed" else nullcontext():
        found.extend(log.at("0", log.earliest()["0"] if damage == "deleted inside" else "0@0-0", end, places))
    if damage == "trimmed":
        assert found == before[40:]
    elif damage == "replaced":
        assert found == list(passing(log, "0", "0@0-0", end, places)) != before
    elif damage == "deleted inside":
        assert found == list(passing(log, "0", log.earliest()["0"], end, places))
    else:
        assert found == before


def test_dead_letters_are_kept_once(source: RedisSource, client: redis.Redis) -> None:
    client.xadd("clicks:0", {"event": "{"})
    client.xadd("clicks:0", {"other": "1"})
    log = RedisEventLog(source)
    for _ in range(2):
        for entry in read(log, Window(log.earliest(), log.heads()), SCHEMA):
            log.reject(entry.record, entry.rejection)
    dead = client.xrange("clicks:dead")
    assert [fields[b"reason"] for _, fields in dead] == [b"field event is not JSON"] * 2  # type: ignore[union-attr]
    assert dead[0][1][b"event"] == b"{"  # type: ignore[index]


def test_dead_letters_of_a_folder_are_kept_once_also_after_a_kill(tmp_path: Path) -> None:
    events = rows(0, 4)
    events[1], events[3] = {**events[1], "label": 7}, {**events[3], "user": None}
    parquet(tmp_path / "log", events, partitions=1)
    dead = tmp_path / "log" / "dead.jsonl"

    def letters() -> list[tuple[str, str]]:
        log = ParquetEventLog(tmp_path / "log")
        for _ in range(2):
            for entry in read(log, Window(log.earliest(), log.heads()), SCHEMA):
                if entry.event is None:
                    log.reject(entry.record, entry.rejection)
        found = []
        for line in dead.read_text().splitlines():
            with suppress(ValueError):
                found.append((json.loads(line)["offset"], json.loads(line)["reason"].split(" must")[0]))
        return found

    whole = [("2", "field 'label'"), ("4", "field 'user'")]
    assert letters() == whole
    assert letters() == whole
    dead.write_text(dead.read_text()[:-10])  # killed in the middle of a line
    assert letters() == whole


def test_an_unreachable_log_is_temporary_and_shows_no_password() -> None:
    log = RedisEventLog(RedisSource("redis://user:hidden@127.0.0.1:1/0", "clicks"))
    with pytest.raises(LogUnreachable) as caught:
        log.heads()
    assert "hidden" not in caught.value.message


def test_parquet_segments_are_trimmed_by_removing_the_oldest(tmp_path: Path) -> None:
    for first in (0, 300):
        log = parquet(tmp_path / "log", rows(first, 300), partitions=1)
    assert log.heads() == {"0": "600"}
    middle = Window({"0": "250"}, {"0": "350"})
    assert [e.event.id for e in read(log, middle, SCHEMA) if e.event] == [row["id"] for row in rows(250, 100)]
    (tmp_path / "log/0/00000000000000000000.parquet").unlink()
    assert log.earliest() == {"0": "300"}
    with pytest.raises(DataTrimmed):
        list(read(log, middle, SCHEMA))
    with pytest.raises(BadConfig):
        ParquetEventLog(tmp_path / "none").heads()


def test_single_parquet_rows_are_those_of_a_whole_reading(tmp_path: Path) -> None:
    for first in (0, 300, 600):
        log = parquet(tmp_path / "log", rows(first, 300), partitions=1)
    whole, numbers = list(log.records("0", "0", "900")), [0, 7, 299, 300, 301, 650, 899]
    assert list(log.at("0", "0", "900", numbers)) == [whole[number] for number in numbers]
    assert [record.number for record in log.at("0", "300", "900", [0, 350])] == [300, 650]
    for number in (300, 600):
        (tmp_path / f"log/0/{number:020d}.parquet").unlink()
        found = log.at("0", "0", "900", numbers)
        assert [record.number for record in islice(found, 3)] == [0, 7, 299]
        with pytest.raises(DataTrimmed, match="lacks rows 300"):
            next(found)


class InMemory:
    """Partitions of times; a time below zero is an unreadable entry."""

    def __init__(self, partitions: list[list[int]]) -> None:
        self.partitions = partitions

    def heads(self) -> dict[str, str]:
        return {str(name): str(len(times)) for name, times in enumerate(self.partitions)}

    def earliest(self) -> dict[str, str]:
        return {str(name): "0" for name in range(len(self.partitions))}

    def records(self, partition: str, start: str, end: str):  # type: ignore[no-untyped-def]
        for number in range(int(start), int(end)):
            moment = self.partitions[int(partition)][number]
            row = {"id": f"{partition}-{number}", "ts": moment, "user": "u", "item": "i", "label": 0, "hour": "1"}
            yield Record(partition, number, str(number + 1), row if moment >= 0 else b"{")

    dead_letters = "memory"

    def reject(self, record: Record, reason: str) -> None: ...


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.integers(-2, 20), max_size=12), min_size=1, max_size=12), st.integers(0, 60))
def test_reading_on_from_any_position_gives_the_rest_of_the_same_order(times: list[list[int]], stop: int) -> None:
    log = InMemory(times)
    window = Window(log.earliest(), log.heads())
    whole = [(entry.partition, entry.offset_after) for entry in read(log, window, SCHEMA)]
    position = dict(window.start) | dict(whole[:stop])
    rest = [(entry.partition, entry.offset_after) for entry in read(log, Window(position, window.end), SCHEMA)]
    assert whole[stop:] == rest
    assert len(whole) == window.total


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"label": 2}, "label"),
        ({"label": "1"}, "label"),
        ({"ts": "now"}, "ts"),
        ({"ts": 1.7e12}, "milliseconds"),
        ({"user": None}, "user"),
        ({"item": 1.5}, "item"),
        ({"id": ""}, "id"),
        ({"hour": True}, "hour"),
    ],
)
def test_malformed_events_are_named(change: dict[str, object], word: str) -> None:
    row = {**rows(0, 1)[0], **change}
    with pytest.raises(Unreadable, match=word):
        parse(Record("0", 0, "1", json.dumps(row).encode()), SCHEMA)


def test_recent_ids_forget_the_oldest_only() -> None:
    recent = RecentIds(horizon=3)
    assert [recent.add(name) for name in ("a", "b", "a", "c", "d", "b", "a")] == [
        True,
        True,
        False,
        True,
        True,
        False,
        True,
    ]
    again = RecentIds(recent.array().tolist(), horizon=3)
    assert "d" in again
    assert "b" not in again


def test_late_events_are_those_behind_the_watermark() -> None:
    watermark = Watermark(lateness=10)
    assert [watermark.is_late(moment) for moment in (100, 95, 89, 200, 189)] == [False, False, True, False, True]
