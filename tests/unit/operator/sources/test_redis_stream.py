"""Heads against a real Redis server."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from redis.asyncio import Redis
from redis_server import RedisServer

from viridian_operator.sources import redis_stream
from viridian_operator.sources.drift import DriftFindings
from viridian_operator.sources.errors import Invalid, Unauthorized, Unavailable
from viridian_operator.sources.redis_stream import Heads, RedisStreams, StreamSource
from viridian_trainer.drift.state import MonitorState, Round
from viridian_trainer.eventlog.redis_stream import RedisSource


async def heads(url: str, partitions: int = 1, **credentials: str) -> Heads:
    streams = RedisStreams(StreamSource(url, "clicks", partitions, **credentials))
    try:
        return await streams.heads()
    finally:
        await streams.close()


async def test_a_log_that_nobody_wrote_to_is_empty(redis: Redis, shared_redis: RedisServer) -> None:
    assert await heads(shared_redis.url, 2) == Heads(
        {"0": "0@0-0", "1": "0@0-0"}, 0, {"0": "0@0-0", "1": "0@0-0"}, {"0": 0, "1": 0}
    )


async def test_heads_count_every_entry_of_every_partition(redis: Redis, shared_redis: RedisServer) -> None:
    for number in range(1, 4):
        await redis.xadd("clicks:0", {"event": "{}"}, id=f"{number}-0")
    await redis.xadd("clicks:1", {"event": "{}"}, id="9-7")
    assert await heads(shared_redis.url, 3) == Heads(
        {"0": "3@3-0", "1": "1@9-7", "2": "0@0-0"},
        4,
        {"0": "0@0-0", "1": "0@0-0", "2": "0@0-0"},
        {"0": 0, "1": 0, "2": 0},
    )


@pytest.mark.parametrize(("first", "before"), [("5-3", "5-2"), ("5-0", "4-18446744073709551615")])
async def test_the_earliest_position_of_a_trimmed_log_reads_exactly_what_is_left(
    redis: Redis, shared_redis: RedisServer, first: str, before: str
) -> None:
    for entry_id in ("1-0", "2-0", first, "6-0"):
        await redis.xadd("clicks:0", {"event": "{}"}, id=entry_id)
    await redis.xtrim("clicks:0", maxlen=2, approximate=False)
    found = await heads(shared_redis.url)
    assert (found.earliest, found.removed, found.total) == ({"0": f"2@{before}"}, {"0": 2}, 4)
    position = found.earliest["0"].split("@")[1]
    assert [entry_id for entry_id, _ in await redis.xrange("clicks:0", min=f"({position}")] == [first, "6-0"]


async def test_a_log_whose_entries_are_all_gone_still_counts_them(redis: Redis, shared_redis: RedisServer) -> None:
    await redis.xadd("clicks:0", {"event": "{}"}, id="1-0")
    await redis.xadd("clicks:0", {"event": "{}"}, id="2-0")
    await redis.xtrim("clicks:0", maxlen=0, approximate=False)
    found = await heads(shared_redis.url)
    assert found == Heads({"0": "2@2-0"}, 2, {"0": "2@2-0"}, {"0": 2})


async def test_a_key_that_is_no_stream_is_said(redis: Redis, shared_redis: RedisServer) -> None:
    await redis.set("clicks:0", "text")
    with pytest.raises(Invalid, match="WRONGTYPE"):
        await heads(shared_redis.url)


@pytest.mark.parametrize("url", ["http://redis", "nonsense"])
async def test_what_is_no_address_is_said(url: str) -> None:
    with pytest.raises(Invalid, match="redis://"):
        await heads(url)


async def test_a_server_that_is_not_there() -> None:
    with pytest.raises(Unavailable):
        await heads("redis://127.0.0.1:1/0")


async def test_credentials(tmp_path) -> None:
    with RedisServer(tmp_path, "--requirepass", "s3cret") as server:
        assert (await heads(server.url, password="s3cret")).total == 0
        with pytest.raises(Unauthorized) as caught:
            await heads(server.url, password="wrong-s3cret")
        assert "s3cret" not in caught.value.message
        with pytest.raises(Unauthorized):
            await heads(server.url)


def test_a_source_never_shows_its_password() -> None:
    assert "s3cret" not in repr(StreamSource("redis://r", "s", 1, "u", "s3cret"))


async def newest(url: str, counts: dict[str, int]) -> Mapping[str, str]:
    streams = RedisStreams(StreamSource(url, "clicks", 2))
    try:
        return await streams.newest(await streams.heads(), counts)
    finally:
        await streams.close()


@pytest.mark.parametrize("count", [0, 1, 3, 6, 7])
async def test_positions_before_the_newest_entries_read_exactly_these(
    redis: Redis, shared_redis: RedisServer, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(redis_stream, "_CHUNK", 3)
    ids = ["1-0", "1-1", "1-2", "5-0", "5-1", "9-0", "9-7"]
    for entry_id in ["0-1", *ids]:
        await redis.xadd("clicks:0", {"event": "{}"}, id=entry_id)
    await redis.xtrim("clicks:0", maxlen=7, approximate=False)
    number, _, position = (await newest(shared_redis.url, {"0": count, "1": 0}))["0"].partition("@")
    assert int(number) == 8 - count
    assert [entry_id for entry_id, _ in await redis.xrange("clicks:0", min=f"({position}")] == ids[7 - count :]


async def test_a_stream_that_lost_entries_while_they_were_counted_is_said(
    redis: Redis, shared_redis: RedisServer
) -> None:
    await redis.xadd("clicks:0", {"event": "{}"}, id="1-0")
    with pytest.raises(Invalid, match="fewer entries"):
        await newest(shared_redis.url, {"0": 2})


async def read_findings(url: str, *keys: str) -> list[DriftFindings]:
    streams = RedisStreams(StreamSource(url, "clicks", 1))
    try:
        return await streams.findings(keys)
    finally:
        await streams.close()


async def test_what_a_drift_monitor_wrote_is_what_is_read(redis: Redis, shared_redis: RedisServer) -> None:
    """Written by the monitor itself."""
    state = MonitorState(RedisSource(shared_redis.url, "clicks"), "u1")
    state.load()
    told = {"number": 2, "eventTime": 17.5, "before": 0.41, "after": 0.63, "events": 144, "version": "7"}
    state.save(Round({"0": "5@1-0"}, [0.1], told, scored=1))
    MonitorState(RedisSource(shared_redis.url, "clicks"), "u2").tell("the Service answers 503")
    one, two, three = await read_findings(shared_redis.url, "u1", "u2", "u3")
    assert one.detection and one.detection.wire() == told
    assert (two.number, two.error) == (0, "the Service answers 503")
    assert three == DriftFindings()


async def test_what_no_drift_monitor_writes_is_said(redis: Redis, shared_redis: RedisServer) -> None:
    await redis.hset("clicks:drift:u1", "detection", '{"number": "many"}')
    with pytest.raises(Invalid, match="another form"):
        await read_findings(shared_redis.url, "u1")
