"""Every transport keeps the same promises, against the real thing."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest
from redis_server import RedisServer, free_port
from s3_server import CREDENTIALS, S3Server

from viridian_model.publication import keys
from viridian_model.store import Absent, Conflict, Store, StoreRefused, StoreUnavailable, open_store
from viridian_model.store import directory as directory_module
from viridian_model.store.redis_store import PIECE

TRANSPORTS = ("directory", "redis", "s3")
Opener = Callable[[], Store]


@pytest.fixture(params=TRANSPORTS)
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opener]:
    """Opens one and the same empty store, as often as one likes; its keys begin with nothing that others use."""
    opened: list[Store] = []
    server: RedisServer | None = None
    if request.param == "directory":
        url = f"file://{tmp_path}/store"
    elif request.param == "redis":
        server = RedisServer(tmp_path)
        server.start()
        url = server.url
    else:
        url = request.getfixturevalue("shared_s3").url(uuid4().hex)

    def open_it() -> Store:
        opened.append(open_store(url, CREDENTIALS if request.param == "s3" else {}))
        return opened[-1]

    yield open_it
    for store in opened:
        store.close()
    if server:
        server.stop()


@pytest.fixture
def store(opener: Opener) -> Store:
    return opener()


def test_a_part_of_a_blob(store: Store) -> None:
    data = bytes(range(256)) * 4
    store.put_new("ctr/a", data)
    for start, size in ((0, 5), (250, 20), (1000, 24), (1020, 100), (0, 0)):
        assert store.get_range("ctr/a", start, size) == data[start : start + size]
    with pytest.raises(Absent):
        store.get_range("ctr/b", 0, 5)


@pytest.mark.parametrize("data", [b"", b"one", bytes(range(256)) * 40])
def test_a_blob_is_written_once(store: Store, data: bytes) -> None:
    assert store.put_new("ctr/deltas/a.json", data)
    assert not store.put_new("ctr/deltas/a.json", b"other")
    assert store.get("ctr/deltas/a.json") == data


def test_what_is_not_there_is_absent_and_can_be_removed(store: Store) -> None:
    with pytest.raises(Absent):
        store.get("ctr/deltas/a.json")
    store.delete("ctr/deltas/a.json")
    assert list(store.keys("ctr")) == []


def test_keys_below_a_folder_are_listed_without_records(store: Store) -> None:
    for key in ("ctr/deltas/a.json", "ctr/deltas/b/c", "ctr/deltas-not", "other/deltas/a"):
        store.put_new(key, b"x")
    store.record("ctr/head").compare_and_set(None, b"1")
    assert sorted(store.keys("ctr/deltas")) == ["ctr/deltas/a.json", "ctr/deltas/b/c"]
    assert sorted(store.keys("ctr")) == ["ctr/deltas-not", "ctr/deltas/a.json", "ctr/deltas/b/c"]


def test_a_removed_blob_is_gone_and_can_be_written_again(store: Store) -> None:
    store.put_new("ctr/a", b"1")
    store.delete("ctr/a")
    with pytest.raises(Absent):
        store.get("ctr/a")
    assert store.put_new("ctr/a", b"2")


@pytest.mark.parametrize("key", ["", "/a", "a//b", "a/../b", ".a", "a/.b", "a b", "a/"])
def test_a_key_that_leads_elsewhere_is_refused(store: Store, key: str) -> None:
    with pytest.raises(ValueError, match="no key"):
        store.get(key)


@pytest.mark.parametrize("chain", ["ctr", "ctr-2", "_1.record", "-", "c" * 250])
def test_every_name_of_a_chain_is_kept(store: Store, chain: str) -> None:
    store.put_new("ctr-2x/deltas/a", b"of another chain")
    key = keys.manifest(chain, "sha256:" + "0" * 64)
    assert store.put_new(key, b"x")
    assert list(store.keys(keys.deltas(chain))) == [key]
    store.record(keys.head(chain)).compare_and_set(None, b"1")
    assert store.record(keys.head(chain)).read().data == b"1"  # type: ignore[union-attr]
    assert store.record(keys.head("ctr-2x")).read() is None


@pytest.mark.parametrize(
    "chain", ["", ".", "..", ".ctr", "ctr/7", "/ctr", "click rate", "ctr*", "ctr\n", "č", "c" * 251]
)
def test_a_name_that_is_no_part_of_a_key_names_no_chain(chain: str) -> None:
    for key in (keys.head, keys.writer, keys.heads, keys.deltas, keys.bundles):
        with pytest.raises(ValueError, match="no part of a key"):
            key(chain)


def test_a_record_is_replaced_only_by_who_has_read_it(store: Store) -> None:
    record = store.record("ctr/head")
    assert record.read() is None
    first = record.compare_and_set(None, b"1")
    assert record.read() == (b"1", first)
    with pytest.raises(Conflict):
        record.compare_and_set(None, b"2")
    second = record.compare_and_set(first, b"2")
    for version in (None, first):
        with pytest.raises(Conflict):
            record.compare_and_set(version, b"3")
    assert record.read() == (b"2", second)


def test_increments_of_many_threads_are_all_counted(opener: Opener) -> None:
    def count(_: int) -> None:
        record, done = opener().record("ctr/counter"), 0
        while done < 5:
            found = record.read()
            try:
                record.compare_and_set(found and found.version, b"%d" % (int(found.data if found else 0) + 1))
                done += 1
            except Conflict:
                continue

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(count, range(4)))
    found = opener().record("ctr/counter").read()
    assert found is not None
    assert found.data == b"20"


def test_one_of_many_writers_of_a_blob_wins(opener: Opener) -> None:
    stores = [opener() for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        won = list(pool.map(lambda one: stores[one].put_new("ctr/a", b"%d" % one), range(4)))
    assert won.count(True) == 1
    assert stores[0].get("ctr/a") == b"%d" % won.index(True)


def test_a_wait_ends_when_the_record_changes(opener: Opener) -> None:
    writer, reader = opener().record("ctr/head"), opener().record("ctr/head")
    version = writer.compare_and_set(None, b"1")
    assert reader.wait(None, 0)
    assert not reader.wait(version, 0.05)
    seen: list[float] = []
    waiting = threading.Thread(target=lambda: seen.append(reader.wait(version, 20) and time.monotonic()))
    waiting.start()
    time.sleep(0.05)  # so that it really waits; the assertions hold without
    writer.compare_and_set(version, b"2")
    written = time.monotonic()
    waiting.join(20)
    assert seen
    assert 0 < seen[0] < written + 5


def test_unfinished_files_are_no_blobs_and_go_after_an_hour(tmp_path: Path) -> None:
    store = open_store(f"file://{tmp_path}", {})
    store.put_new("ctr/a", b"1")
    left = tmp_path / ".unfinished" / "left"
    left.write_bytes(b"half")
    assert list(store.keys("ctr")) == ["ctr/a"]
    store.tidy()
    assert left.exists()
    os.utime(left, (0, 0))
    store.tidy()
    assert not left.exists()


def test_a_writer_from_long_ago_finds_that_it_was_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory_module, "KEPT_VERSIONS", 5)
    monkeypatch.setattr(directory_module, "KEPT_SECONDS", -1.0)
    record = open_store(f"file://{tmp_path}", {}).record("ctr/head")
    versions = [record.compare_and_set(None, b"0")]
    for number in range(1, 30):
        versions.append(record.compare_and_set(versions[-1], b"%d" % number))
    assert len(list((tmp_path / "ctr/head.record").iterdir())) < 10
    for old in (None, *versions[:-1]):
        with pytest.raises(Conflict):
            record.compare_and_set(old, b"late")
        assert record.wait(old, 0)
    assert record.read() == (b"29", versions[-1])


def test_a_blob_larger_than_a_piece_is_whole(shared_redis: RedisServer) -> None:
    store = open_store(shared_redis.url, {})
    data = bytes(PIECE) + b"end"
    assert store.put_new("large/a", data)
    assert store.get("large/a") == data
    assert store.get_range("large/a", PIECE - 2, 4) == b"\0\0en"
    assert list(store.keys("large")) == ["large/a"]
    store.delete("large/a")


def test_a_store_that_does_not_answer_is_unavailable(shared_s3: S3Server) -> None:
    silent = f"127.0.0.1:{free_port()}"
    for url in (f"redis://{silent}/0", f"s3://models/x?endpoint=http://{silent}&region=us-east-1"):
        store = open_store(url, CREDENTIALS if url.startswith("s3") else {})
        for call in (lambda: store.get("a"), lambda: store.put_new("a", b""), lambda: store.record("a").read()):  # noqa: B023
            with pytest.raises(StoreUnavailable):
                call()


def test_wrong_credentials_and_a_missing_bucket_are_no_absence(shared_s3: S3Server, tmp_path: Path) -> None:
    wrong = {**CREDENTIALS, "VIRIDIAN_STORE_PASSWORD": "wrong"}
    protected = RedisServer(tmp_path, "--requirepass", "right")
    protected.start()
    stores = [
        open_store(shared_s3.url("x"), wrong),
        open_store(shared_s3.url("x", bucket="missing"), CREDENTIALS),
        open_store(protected.url, {}),
        open_store(protected.url, {"VIRIDIAN_STORE_PASSWORD": "wrong"}),
    ]
    for store in stores:
        for call in (lambda: store.get("a"), lambda: store.put_new("a", b""), lambda: store.record("a").read()):  # noqa: B023
            with pytest.raises(StoreRefused) as caught:
                call()
            assert "wrong" not in str(caught.value).replace("wrong cred", "")
    assert open_store(protected.url, {"VIRIDIAN_STORE_PASSWORD": "right"}).put_new("a", b"")
    protected.stop()


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("redis://user:secret@host/0", "VIRIDIAN_STORE_PASSWORD"),
        ("s3://key:secret@bucket/prefix", "VIRIDIAN_STORE_PASSWORD"),
        ("file://relative/path", "three slashes"),
        ("redis:///0", "needs a host"),
        ("s3:///prefix", "needs a bucket"),
        ("s3://bucket/prefix?endpiont=http://x", "endpiont"),
        ("file:///store?sync=no", "sync"),
        ("/var/lib/store", "no scheme"),
        ("ftp://host/", "ftp"),
    ],
)
def test_a_wrong_address_says_what_to_write(url: str, told: str) -> None:
    with pytest.raises(ValueError, match=told) as caught:
        open_store(url, {})
    assert "secret" not in str(caught.value)
