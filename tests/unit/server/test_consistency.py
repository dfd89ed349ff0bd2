"""Damage to the memory of a replica: found by the next check, repaired, and never seen where there is none."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chain_replica import Replica
from live_trainer import LiveTrainer
from pod import DEADLINE, Site, until

from viridian_model.chain.builder import Selection
from viridian_model.merkle import LEAF_ROWS
from viridian_model.publication.links import fetch_manifest
from viridian_model.store import StoreUnavailable
from viridian_server.online.table import TableView


@pytest.fixture
def replica(site: Site, store_url: str, trainer: LiveTrainer) -> Iterator[Replica]:
    replica = Replica(site, store_url).start()
    for _ in range(4):
        replica.reaches(trainer.publish().sequence)
    yield replica
    replica.following.close()


def check(replica: Replica) -> dict[str, Any]:
    """One check, now."""
    replica.following.checker.check(lambda: None)
    return dict(replica.following.checker.record)


def flip(array: np.ndarray, bit: int) -> None:
    raw = array.view(np.uint8).reshape(-1)
    raw[bit // 8] ^= 1 << bit % 8


def same_row(view: TableView, slot: int, other: int) -> bool:
    return 0 <= other < len(view.arena.array) and view.arena.array[other].tobytes() == view.arena.array[slot].tobytes()


def damage(replica: Replica, kind: str, random: np.random.Generator) -> None:
    """The test's own hand in the memory of the replica: what a faulty chip or a lost write leaves behind."""
    weights = replica.following.residents.current.weights
    name = random.choice(sorted(weights.tables))
    view = weights.tables[name]
    position = int(random.integers(view.rows))
    slot = int(view.slots[position])
    if kind == "bit of a value":
        flip(view.arena.array[slot], int(random.integers(view.dim * 32)))
    elif kind == "bit of an id":
        flip(view.ids[position : position + 1], int(random.integers(64)))
    elif kind == "bit of a slot":
        flip(view.slots[position : position + 1], int(random.integers(32)))
        while same_row(view, slot, int(view.slots[position])):  # it leads to an older copy of the row: no damage
            flip(view.slots[position : position + 1], int(random.integers(32)))
    elif kind == "bit of the index":
        flip(view.index.keys[:1], int(random.integers(64)))
    elif kind == "bit of a tensor":
        tensor = random.choice(sorted(weights.tensors))
        flip(weights.tensors[tensor].reshape(-1), int(random.integers(weights.tensors[tensor].size * 32)))
    elif kind == "bit of a hash":
        flip(weights.roots.tables[name].leaves, int(random.integers(128)))
    elif kind == "dropped delta":
        anchor = replica.following.residents.held[-1].weights.tables[name]
        changed = np.flatnonzero(anchor.slots != view.slots[: anchor.rows])
        view.arena.array[view.slots[changed]] = anchor.arena.array[anchor.slots[changed]]
    elif kind == "truncated block":
        view.arena.array[view.slots[position // LEAF_ROWS * LEAF_ROWS :][:LEAF_ROWS]] = 0
    elif kind == "wrong block":
        view.arena.array[view.slots] = view.arena.array[view.slots[::-1]]


KINDS = (
    "bit of a value", "bit of an id", "bit of a slot", "bit of the index", "bit of a tensor", "bit of a hash",
    "dropped delta", "truncated block", "wrong block",
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_found_and_repaired(replica: Replica, trainer: LiveTrainer, kind: str) -> None:
    random = np.random.default_rng(3)
    damage(replica, kind, random)
    record = check(replica)
    assert (record["found"], record["repaired"]) == (1, 1)
    assert record["last"]["seq"] == "1.4"
    assert replica.answers() == trainer.offline["1.4"]
    assert check(replica)["found"] == 1
    replica.reaches(trainer.publish().sequence)
    assert replica.answers() == trainer.offline["1.5"]
    assert check(replica)["found"] == 1


@pytest.mark.parametrize("merged", [False, True])
def test_a_repair_moves_the_block_that_differs_and_nothing_else(
    replica: Replica, trainer: LiveTrainer, merged: bool
) -> None:
    table = trainer.model.embedding_tables()["user"]
    table.grow(f"more{number}" for number in range(20 * LEAF_ROWS))
    for _ in range(5):
        replica.reaches(trainer.publish().sequence)
    if merged:
        chain, following = trainer.compact().chain, replica.following
        until(lambda: following.residents.current.position.chain == chain and following.lag_seconds == 0)
        assert check(replica)["found"] == 0
    view = replica.following.residents.current.weights.tables["user"]
    flip(view.arena.array[view.slots[10 * LEAF_ROWS]], 3)
    last = check(replica)["last"]
    assert (last["blocks"], last["table"], last["cause"]) == (1, "user", "Rows")
    headers = 10 * 1024  # of the files of one anchor and nine deltas; what this replica applied it need not read again
    assert LEAF_ROWS * table.dim * 4 <= last["bytes"] <= LEAF_ROWS * (table.dim * 4 + 8) + headers
    assert replica.answers() == trainer.offline["1.9"]


@pytest.mark.parametrize("packing", ["plain", "compressed", "int8"])
def test_blocks_are_repaired_from_every_kind_of_file(
    packing: str, site: Site, store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if packing == "plain":
        monkeypatch.setattr("viridian_model.chain.delta.SMALL", 0)
    selection = Selection(encoding="int8") if packing == "int8" else None
    trainer = LiveTrainer(store_url, tmp_path / "trainer", selection=selection)
    replica = Replica(site, store_url).start()
    try:
        for _ in range(3):
            replica.reaches(trainer.publish().sequence)
        trainer.compact()
        replica.reaches(trainer.publish().sequence)
        newest = fetch_manifest(trainer.store, "ctr", trainer.publisher.head.chain[-1])  # type: ignore[union-attr]
        assert newest.payload.compression == ("none" if packing == "plain" else "zlib")
        expected = replica.answers()
        assert (expected == trainer.offline[replica.sequence]) is (packing != "int8"), "int8 rounds"
        for number, kind in enumerate(("truncated block", "bit of a tensor"), start=1):
            damage(replica, kind, np.random.default_rng(number))
            assert check(replica)["repaired"] == number
            assert replica.answers() == expected
    finally:
        replica.following.close()


def test_older_residents_are_repaired_with_what_answers(replica: Replica, trainer: LiveTrainer) -> None:
    weights = replica.following.residents.current.weights
    for view in weights.tables.values():
        for position in range(view.rows):
            flip(view.arena.array[view.slots[position]], 5)
    assert check(replica)["repaired"] == 1
    assert replica.following.revert("1.3", "look") is True
    assert replica.answers() == trainer.offline["1.3"]


def test_a_delta_on_damaged_rows_is_applied_after_the_repair(replica: Replica, trainer: LiveTrainer) -> None:
    for view in replica.following.residents.current.weights.tables.values():
        for position in range(view.rows):
            flip(view.arena.array[view.slots[position]], 9)
    replica.reaches(trainer.publish().sequence)
    assert replica.answers() == trainer.offline["1.5"]
    assert replica.following.checker.record["repaired"] == 1
    assert replica.value("viridian_deltas_refused_total", reason="RootMismatch") == 0


def test_what_cannot_be_repaired_is_not_ready_until_it_is(
    replica: Replica, trainer: LiveTrainer, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = replica.following._store
    broken = StoreUnavailable("the network is down")
    with monkeypatch.context() as away:
        for call in ("get", "get_range"):
            away.setattr(store, call, lambda *_: (_ for _ in ()).throw(broken))
        away.setattr("viridian_server.loading.open_store", lambda *_: store)
        for path in site.store.iterdir():  # the local copy of the anchor is gone as well
            (path / "weights.safetensors").unlink()
        damage(replica, "bit of a value", np.random.default_rng(1))
        assert check(replica)["repaired"] == 0
        assert not replica.state.ready
        assert replica.state.alive, "it may still get well"
        away.setattr("viridian_server.state.REPLACED_AFTER", 0.0)
        assert not replica.state.alive, "the kubelet replaces it"
        assert site.last_words()["reason"] == "Corrupted"
        assert replica.state.identity()["error"]["reason"] == "Corrupted"
    assert check(replica)["repaired"] == 1
    assert replica.state.ready
    assert replica.state.alive
    assert site.termination_log.read_text() == ""
    assert replica.answers() == trainer.offline["1.4"]


@pytest.mark.parametrize("rounds", [20, pytest.param(1000, marks=pytest.mark.thorough)])
def test_random_damage(replica: Replica, trainer: LiveTrainer, rounds: int) -> None:
    random = np.random.default_rng(rounds)
    for number in range(1, rounds + 1):
        damage(replica, str(random.choice(KINDS[:6])), random)
        record = check(replica)
        assert (record["found"], record["repaired"]) == (number, number)
        if random.random() < 0.2 and len(trainer.publisher.head.chain) < 100:  # type: ignore[union-attr]
            replica.reaches(trainer.publish().sequence)
        assert replica.answers() == trainer.offline[replica.sequence]


@pytest.mark.parametrize("checks", [200, pytest.param(10_000, marks=pytest.mark.thorough)])
def test_no_alarm_while_deltas_are_applied(replica: Replica, trainer: LiveTrainer, checks: int) -> None:
    stop = threading.Event()

    def train() -> None:
        while not stop.is_set():
            head = trainer.publish()
            if len(head.chain) > 100:
                trainer.compact()

    thread = threading.Thread(target=train)
    thread.start()
    try:
        before, done, deadline = replica.sequence, 0, time.monotonic() + DEADLINE
        while done < checks or replica.sequence == before:
            assert time.monotonic() < deadline, "no delta was applied"
            replica.following.checker.check(lambda: None)
            done += 1
    finally:
        stop.set()
        thread.join()
    assert replica.following.checker.record["found"] == 0
    assert replica.state.ready
