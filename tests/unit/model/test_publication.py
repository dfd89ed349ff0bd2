from __future__ import annotations

import dataclasses
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
import sample_bundle
from faulty_store import Fault as StoreFault
from faulty_store import FaultyStore
from hypothesis import given, settings
from hypothesis import strategies as st
from publishing import MODEL, Writer, anchor, replayed
from redis_server import RedisServer
from s3_server import CREDENTIALS, S3Server

from viridian_model.bundle import read_bundle
from viridian_model.errors import DigestMismatch
from viridian_model.publication import keys
from viridian_model.publication.anchors import fetch_anchor, put_anchor
from viridian_model.publication.follower import Follower, Position
from viridian_model.publication.head import Head, HeadError, Sequence, check_follows
from viridian_model.publication.lease import Fenced, LeaseHeld
from viridian_model.publication.links import BrokenLink, Fault
from viridian_model.publication.publisher import Publisher
from viridian_model.publication.reverting import revert
from viridian_model.store import Absent, Conflict, Store, StoreUnavailable, open_store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(f"file://{tmp_path}/store", {})


def head_of(store: Store) -> Head:
    found = store.record(keys.head(MODEL)).read()
    assert found is not None
    return Head.parse(found.data)


def test_a_chain_grows_link_by_link_and_readers_arrive(store: Store) -> None:
    writer, follower = Writer(store, "a"), Follower(store, MODEL)
    assert follower.poll() is None
    assert writer.begin().sequence == Sequence(1, 0)
    for n in range(1, 6):
        head = writer.publish()
        assert head.sequence == Sequence(1, n)
        assert follower.poll() == head
        replayed(store, head)
    assert follower.poll() is None


def test_compaction_leaves_sequence_and_root_and_readers_at_the_head_have_nothing_to_do(store: Store) -> None:
    writer, follower = Writer(store, "a"), Follower(store, MODEL)
    writer.begin()
    heads = [writer.publish() for _ in range(6)]
    compacted = writer.publisher.compact(keep=2)
    assert (compacted.sequence, compacted.root, len(compacted.chain)) == (heads[-1].sequence, heads[-1].root, 3)
    assert compacted.size < heads[-1].size
    replayed(store, compacted)
    at = [Position(head.anchor.digest, head.chain, head.root) for head in heads]
    assert follower.plan(compacted, at[5:]).deltas == ()
    assert follower.plan(compacted, at[3:4]).deltas == compacted.chain[1:]
    assert follower.plan(compacted, at[2:3]).deltas == compacted.chain
    replayed(store, writer.publish())


def test_a_reader_fetches_the_fewest_links(store: Store) -> None:
    writer, follower = Writer(store, "a"), Follower(store, MODEL)
    heads = [writer.begin(), *(writer.publish() for _ in range(5))]
    at = [Position(head.anchor.digest, head.chain, head.root) for head in heads]
    assert follower.plan(heads[5], [at[1], at[3]]).deltas == heads[5].chain[3:]
    back = follower.plan(revert(store, MODEL, "1.2", "worse"), [at[5], at[2], at[0]])
    assert (back.start, back.deltas) == (at[2], ())
    elsewhere = dataclasses.replace(at[5], anchor="sha256:" + "f" * 64)
    assert follower.plan(heads[5], [elsewhere]).start is None


def test_a_full_chain_has_to_be_compacted(store: Store) -> None:
    writer = Writer(store, "a")
    writer.begin()
    for _ in range(128):
        head = writer.publish()
    with pytest.raises(HeadError, match="compact"):
        writer.publish()
    assert len(writer.publisher.compact().chain) == 1
    assert writer.publish().sequence == head.sequence._replace(n=129)


def test_the_second_writer_waits_for_the_lease_and_fences_the_first(store: Store) -> None:
    now = [1000.0]
    first, second = (Publisher(store, MODEL, name, ttl=10, clock=lambda: now[0]) for name in "ab")
    first.acquire()
    first.begin_epoch(anchor(store), trained_to={}, event_time=None)
    with pytest.raises(LeaseHeld, match="a holds"):
        second.acquire()
    now[0] += 9
    first.renew()
    now[0] += 9
    with pytest.raises(LeaseHeld):
        second.acquire()
    now[0] += 2
    head = second.acquire()
    assert head is not None
    assert head.token == second.token > first.token
    for call in (first.renew, first.release):
        with pytest.raises(Fenced):
            call()
    with pytest.raises(Fenced):
        first.begin_epoch(anchor(store, 1), trained_to={}, event_time=None)
    second.release()
    first.acquire()
    assert first.token > second.token


def test_a_fenced_writer_changes_nothing(store: Store) -> None:
    slow = Writer(store, "a", ttl=0)
    slow.begin()
    slow.publish()
    built = slow.build()
    other = Writer(store, "b", seed=1)
    other.begin()
    before = other.publish()
    with pytest.raises(Fenced):
        slow.publish(built)
    assert head_of(store) == before
    slow.publisher.store.get(keys.manifest(MODEL, built.delta.digest))
    replayed(store, before)


def test_a_restarted_writer_takes_its_own_lease_at_once(store: Store) -> None:
    Writer(store, "a").begin()
    again = Writer(store, "a")
    again.begin()
    assert again.publish().n == 1


@pytest.mark.parametrize(
    ("to", "n", "links"), [("anchor", 0, 0), ("1.0", 0, 0), ("1.2", 2, 2), ("1.4", 4, 4), ("sha256:" + "0" * 64, 0, 0)]
)
def test_a_revert_is_a_new_epoch_that_fences_the_writer(store: Store, to: str, n: int, links: int) -> None:
    writer, follower = Writer(store, "a"), Follower(store, MODEL)
    heads = [writer.begin(), *(writer.publish() for _ in range(4))]
    follower.poll()
    head = revert(store, MODEL, to, "it got worse")
    assert (head.sequence, head.root, head.chain) == (Sequence(2, n), heads[n].root, heads[4].chain[:links])
    assert head.size == heads[n].size
    assert head.trained_to == heads[n].trained_to
    assert follower.poll() == head
    replayed(store, head)
    with pytest.raises(Fenced):
        writer.publish()
    writer.begin()
    assert writer.publish().sequence == Sequence(2, n + 1)


def test_a_revert_leads_to_retained_heads_too(store: Store) -> None:
    writer = Writer(store, "a")
    heads = [writer.begin(), *(writer.publish() for _ in range(5))]
    writer.publisher.compact()
    writer.publish()
    writer.publisher.begin_epoch(anchor(store, 1), trained_to={"0": "9"}, event_time=None)
    for to, wanted in (("1.3", heads[3]), ("1.5", heads[5]), ("sha256:" + "0" * 64, heads[0])):
        head = revert(store, MODEL, to, "worse")
        assert (head.n, head.root, head.anchor) == (wanted.n, wanted.root, wanted.anchor)
        replayed(store, head)
    for nowhere in ("1.9", "9.0", "sha256:" + "e" * 64):
        with pytest.raises(HeadError, match="nothing leads to"):
            revert(store, MODEL, nowhere, "worse")
    with pytest.raises(ValueError, match="not a sequence"):
        revert(store, MODEL, "yesterday", "worse")


def retried[T](call: Callable[[], T]) -> T:
    try:
        return call()
    except StoreUnavailable:
        return call()


def story(store: Store) -> list[Head]:
    """Everything that writers do, each call made again when the store did not answer."""
    writer = Writer(store, "a")
    retried(writer.publisher.acquire)
    first = retried(lambda: writer.publisher.begin_epoch(anchor(store), trained_to={}, event_time=None))
    retried(lambda: writer.resume(first))
    for _ in range(3):
        built = writer.build()
        retried(lambda: writer.publish(built))  # noqa: B023
    heads = [retried(lambda: writer.publisher.compact(keep=1))]
    retried(writer.publisher.renew)
    built = writer.build()
    heads.append(retried(lambda: writer.publish(built)))
    heads.append(retried(lambda: revert(store, MODEL, "1.3", "worse")))
    return heads


@pytest.mark.parametrize("fault", ["Fails", "LosesReply"])
def test_whichever_call_goes_wrong_all_is_published_once(tmp_path: Path, fault: StoreFault) -> None:
    def faulty(at: int | None) -> tuple[FaultyStore, list[Head]]:
        store = FaultyStore(open_store(f"file://{tmp_path}/{fault}-{at}", {}), at, fault)
        return store, story(store)

    calls = faulty(None)[0].calls
    for at in range(calls):
        store, (compacted, published, reverted) = faulty(at)
        assert compacted.sequence == Sequence(1, 3)
        assert published.sequence == Sequence(1, 4)
        # A revert of which the answer was lost is made twice: the state is the same.
        assert reverted.n == 3
        assert reverted.epoch in (2, 3)
        store.at = None
        for head in (compacted, published, reverted):
            replayed(store, head)
        assert head_of(store) == reverted


def damaged(store: Store, digest: str, root: Path, change: Callable[[bytes], bytes] | None) -> None:
    """Change or remove the payload of a delta, behind the back of the store."""
    path = root / "store" / keys.payload(MODEL, digest)
    data = path.read_bytes()
    path.unlink()
    if change is not None:
        path.write_bytes(change(data))


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (None, Fault.MISSING),
        (lambda data: data[:-1], Fault.TRUNCATED),
        (lambda data: b"", Fault.TRUNCATED),
        (lambda data: data[:-1] + bytes([data[-1] ^ 1]), Fault.CORRUPTED),
        (lambda data: data + b"x", Fault.CORRUPTED),
    ],
)
def test_a_broken_link_has_a_name(
    store: Store, tmp_path: Path, change: Callable[[bytes], bytes] | None, fault: Fault
) -> None:
    writer = Writer(store, "a")
    head = writer.begin()
    after = writer.publish()
    damaged(store, after.chain[0], tmp_path, change)
    with pytest.raises(BrokenLink) as caught:
        Follower(store, MODEL).fetch(after.chain[0], head.root)
    assert (caught.value.fault, caught.value.digest) == (fault, after.chain[0])


def test_links_in_another_order_and_without_manifest_have_a_name(store: Store) -> None:
    writer = Writer(store, "a")
    root = writer.begin().root
    first, second = writer.publish().chain[-1], writer.publish().chain[-1]
    with pytest.raises(BrokenLink) as reordered:
        Follower(store, MODEL).fetch(second, root)
    assert reordered.value.fault == Fault.REORDERED
    store.delete(keys.manifest(MODEL, first))
    with pytest.raises(BrokenLink) as missing:
        Follower(store, MODEL).fetch(first, root)
    assert missing.value.fault == Fault.MISSING
    store.put_new(keys.manifest(MODEL, first), store.get(keys.manifest(MODEL, second)))
    with pytest.raises(BrokenLink) as swapped:
        Follower(store, MODEL).fetch(first, root)
    assert swapped.value.fault == Fault.CORRUPTED


HEADS = st.builds(
    lambda epoch, n, token, root: Head(
        epoch=epoch,
        n=n,
        token=token,
        root=str(root),
        anchor={"version": "1", "digest": f"sha256:{epoch:064x}", "root": "a"},
        trained_to={},
        published_at=0,
    ),
    st.integers(0, 2),
    st.integers(0, 2),
    st.integers(0, 2),
    st.integers(0, 1),
)


@given(heads=st.lists(HEADS, min_size=1, max_size=6))
@settings(max_examples=80, deadline=None)
def test_a_follower_never_goes_back(tmp_path_factory: pytest.TempPathFactory, heads: list[Head]) -> None:
    store = open_store(f"file://{tmp_path_factory.mktemp('heads')}", {})
    record, follower, version = store.record(keys.head(MODEL)), Follower(store, MODEL), None
    for head in heads:
        version = record.compare_and_set(version, head.encode())
        before = follower.head
        try:
            follower.poll()
        except HeadError:
            assert follower.head == before
        assert follower.poll() is None
        if before is not None and follower.head is not None:
            assert follower.head.sequence >= before.sequence
            assert follower.head.token >= before.token
            check_follows(before, follower.head)


def test_a_head_that_is_no_head_is_told_once_and_passed_over(store: Store) -> None:
    follower, record = Follower(store, MODEL), store.record(keys.head(MODEL))
    version = record.compare_and_set(None, b"{}")
    with pytest.raises(HeadError):
        follower.poll()
    assert follower.poll() is None
    writer = Writer(store, "a")
    with pytest.raises(HeadError):
        writer.begin()
    assert record.compare_and_set(version, b"[]")


def test_bundles_come_back_whole(store: Store, tmp_path: Path) -> None:
    digest = sample_bundle.write(tmp_path / "bundle")
    put = put_anchor(store, MODEL, "12", tmp_path / "bundle")
    assert put == put_anchor(store, MODEL, "12", tmp_path / "bundle")
    fetch_anchor(store, MODEL, digest, tmp_path / "fetched")
    bundle = read_bundle(tmp_path / "fetched", digest)
    assert (put.digest, put.root) == (digest, bundle.manifest.merkle_root)
    weights = tmp_path / "store" / keys.bundle_file(MODEL, digest, "weights.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(DigestMismatch, match=r"weights\.safetensors"):
        fetch_anchor(store, MODEL, digest, tmp_path / "broken")
    assert not (tmp_path / "broken").exists()
    weights.unlink()
    with pytest.raises(Absent):
        fetch_anchor(store, MODEL, digest, tmp_path / "broken")


def killed_writers(url: str, environ: dict[str, str], folder: Path, rounds: int, seed: int) -> None:
    """Two processes publish at once; one, the other or both are killed at random moments."""
    chance = random.Random(seed)
    store, follower = open_store(url, environ), None
    processes: dict[str, subprocess.Popen[bytes]] = {}
    logs = {name: folder / f"{name}.log" for name in "ab"}
    program = [sys.executable, str(Path(__file__).parent / "publishing.py"), url]
    try:
        for _ in range(rounds):
            for name in logs.keys() - processes.keys():
                processes[name] = subprocess.Popen([*program, name, str(logs[name])], env={**os.environ, **environ})
            wait_for_lines(logs, processes, chance.uniform(0, 0.4))
            for name in chance.choice(("a", "b", "ab")):
                process = processes.pop(name)
                process.send_signal(signal.SIGKILL)
                assert process.wait() == -signal.SIGKILL
            follower = follower or Follower(store, MODEL)
            head = follower.poll() or follower.head
            if head is not None:
                replayed(store, newest(follower))
    finally:
        for process in processes.values():
            process.kill()
            process.wait()
    check_logs(logs, head_of(store), at_least=rounds // 2)


def newest(follower: Follower) -> Head:
    """The head now; one of some moments ago may have been compacted."""
    follower.poll()
    assert follower.head is not None
    return follower.head


def wait_for_lines(logs: dict[str, Path], processes: dict[str, subprocess.Popen[bytes]], more: float) -> None:
    """Until the processes have published something new, and a random moment longer."""

    def lines() -> int:
        return sum(len(log.read_bytes().splitlines()) for log in logs.values() if log.exists())

    before, deadline = lines(), time.monotonic() + 120
    while lines() == before:
        assert time.monotonic() < deadline, "nothing was published"
        assert all(process.poll() is None for process in processes.values()), "a writer has ended by itself"
        time.sleep(0.01)
    time.sleep(more)


def check_logs(logs: dict[str, Path], head: Head, *, at_least: int) -> None:
    """No sequence was published twice, what was answered is in order, and the head is not behind it."""
    roots: dict[Sequence, str] = {}
    for log in logs.values():
        entries = [line.split() for line in log.read_text().splitlines() if len(line.split()) == 4]
        tokens = [int(token) for *_, token in entries]
        assert tokens == sorted(tokens)
        for epoch, n, root, _ in entries:
            assert roots.setdefault(Sequence(int(epoch), int(n)), root) == root
    assert len(roots) >= at_least
    assert max(roots) <= head.sequence
    assert roots.get(head.sequence, head.root) == head.root


def test_two_writers_that_are_killed_at_random_never_fork_the_chain_on_a_volume(tmp_path: Path) -> None:
    killed_writers(f"file://{tmp_path}/store", {}, tmp_path, rounds=3, seed=1)


def test_two_writers_that_are_killed_at_random_never_fork_the_chain_in_redis(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server:
        killed_writers(server.url, {}, tmp_path, rounds=3, seed=2)


@pytest.mark.thorough
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("transport", ["directory", "redis", "s3"])
def test_two_writers_that_are_killed_a_hundred_times_never_fork_the_chain(
    transport: str, tmp_path: Path, shared_redis: RedisServer, shared_s3: S3Server
) -> None:
    shared_redis.stop()
    shared_redis.start()
    url = {
        "directory": f"file://{tmp_path}/store",
        "redis": shared_redis.url,
        "s3": shared_s3.url(uuid4().hex),
    }[transport]
    killed_writers(url, CREDENTIALS if transport == "s3" else {}, tmp_path, rounds=100, seed=3)


def test_writers_of_one_process_never_fork_either(store: Store) -> None:
    writers = [Writer(store, name, ttl=0, seed=number) for number, name in enumerate("abc")]
    chance, seen = random.Random(5), {}
    for _ in range(120):
        writer = chance.choice(writers)
        try:
            if writer.publisher.token == 0 or chance.random() < 0.3:
                writer.begin()
            head = writer.publish()
        except (Fenced, LeaseHeld, Conflict):
            writer.begin()
            continue
        assert seen.setdefault(head.sequence, head.root) == head.root
        if len(head.chain) > 10:
            writer.publisher.compact()
    replayed(store, head_of(store))
    assert np.diff(sorted(sequence.n for sequence in seen)).tolist() == [1] * (len(seen) - 1)
