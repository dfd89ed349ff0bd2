from __future__ import annotations

import uuid
from collections.abc import Collection
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from publishing import MODEL, Writer, anchor, replayed

from viridian_model.chain.delta import DeltaManifest
from viridian_model.publication import keys
from viridian_model.publication.garbage import GarbageCollector
from viridian_model.publication.head import Head
from viridian_model.publication.lease import Fenced
from viridian_model.publication.links import fetch_delta, fetch_manifest
from viridian_model.publication.reverting import retained_heads, revert
from viridian_model.store import Store, open_store

RETENTION, GRACE = 100.0, 10.0


class Keeper:
    """A writer, its garbage collector, and a clock that both look at."""

    def __init__(self, store: Store) -> None:
        self.store, self.now = store, 1000.0
        self.writer = Writer(store, "a", ttl=1e9, clock=lambda: self.now)
        self.collector = GarbageCollector(
            self.writer.publisher, retention=RETENTION, grace=GRACE, clock=lambda: self.now
        )
        self.writer.begin()
        self._anchors = 0

    def begin_epoch(self) -> None:
        """A new anchor."""
        self._anchors += 1
        new = anchor(self.store, self._anchors)
        self.writer.resume(self.writer.publisher.begin_epoch(new, trained_to={}, event_time=None))

    def go_back(self, to: str) -> None:
        """A revert, after which the writer takes the lease anew."""
        revert(self.store, MODEL, to, "worse")
        self.writer.begin()

    def collect(self, pinned: Collection[str] = ()) -> int:
        """Look twice, with the grace between."""
        first = self.collector.collect(pinned)
        self.now += GRACE
        return first + self.collector.collect(pinned)

    @property
    def head(self) -> Head:
        """The head as it stands in the store."""
        found = self.store.record(keys.head(MODEL)).read()
        assert found is not None
        return Head.parse(found.data)


@pytest.fixture
def keeper(tmp_path: Path) -> Keeper:
    return Keeper(open_store(f"file://{tmp_path}/store", {}))


def check_whole(store: Store, digest: str) -> None:
    """A pinned anchor or delta can be arrived at."""
    if list(store.keys(keys.bundle_file(MODEL, digest, keys.MANIFEST).rpartition("/")[0])):
        return
    manifest = fetch_manifest(store, MODEL, digest)
    fetch_delta(store, MODEL, digest, manifest)
    store.get(keys.bundle_file(MODEL, manifest.anchor, keys.MANIFEST))
    if manifest.parent_root != anchor(store).root:
        check_whole(store, next(each for each, other in manifests(store).items() if other.root == manifest.parent_root))


def manifests(store: Store) -> dict[str, DeltaManifest]:
    """All manifests of deltas that there are."""
    names = [key.rpartition("/")[2] for key in store.keys(keys.deltas(MODEL))]
    digests = [f"sha256:{name.removesuffix('.json')}" for name in names if name.endswith(".json")]
    return {digest: fetch_manifest(store, MODEL, digest) for digest in digests}


STEPS = st.lists(
    st.sampled_from(["publish", "publish", "publish", "compact", "epoch", "revert", "collect", "later", "pin"]),
    max_size=14,
)


@given(steps=STEPS, choice=st.randoms(use_true_random=False))
@settings(max_examples=25, deadline=None)
def test_nothing_that_is_referred_to_is_ever_removed(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str], choice: object
) -> None:
    keeper = Keeper(open_store(f"file://{tmp_path_factory.mktemp('garbage')}/{uuid.uuid4().hex}", {}))
    walk(keeper, steps, choice)


@pytest.mark.thorough
@pytest.mark.timeout(7200)
@given(steps=STEPS, choice=st.randoms(use_true_random=False))
@settings(max_examples=1000, deadline=None)
def test_nothing_that_is_referred_to_is_removed_in_a_thousand_walks(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str], choice: object
) -> None:
    keeper = Keeper(open_store(f"file://{tmp_path_factory.mktemp('garbage')}/{uuid.uuid4().hex}", {}))
    walk(keeper, steps, choice)


def walk(keeper: Keeper, steps: list[str], choice: object) -> None:
    """Take the steps, and look after each that all that is referred to is whole."""
    pinned: set[str] = set()
    for step in steps:
        match step:
            case "publish":
                keeper.writer.publish()
            case "compact":
                keeper.writer.publisher.compact(keep=1)
            case "epoch":
                keeper.begin_epoch()
            case "revert":
                heads = [keeper.head, *(head for _, head in retained_heads(keeper.store, MODEL))]
                keeper.go_back(str(choice.choice(heads).sequence))  # type: ignore[attr-defined]
            case "collect":
                keeper.collect(pinned)
            case "later":
                keeper.now += RETENTION + 1
            case "pin":
                pinned.add(choice.choice([keeper.head.anchor.digest, *keeper.head.chain]))  # type: ignore[attr-defined]
        replayed(keeper.store, keeper.head)
        for _, head in retained_heads(keeper.store, MODEL):
            replayed(keeper.store, head)
        for digest in pinned:
            check_whole(keeper.store, digest)


def test_what_nothing_refers_to_goes_after_retention_and_grace(keeper: Keeper) -> None:
    for _ in range(4):
        keeper.writer.publish()
    keeper.writer.publisher.compact()
    assert keeper.collect() == 0
    keeper.now += RETENTION
    assert keeper.collector.collect() == 0
    keeper.now += GRACE
    assert keeper.collector.collect() == 8
    assert set(manifests(keeper.store)) == set(keeper.head.chain)
    assert list(retained_heads(keeper.store, MODEL)) == []


def test_a_pinned_delta_keeps_its_anchor_and_the_links_before_it(keeper: Keeper) -> None:
    first = [keeper.writer.publish() for _ in range(3)][1]
    keeper.begin_epoch()
    keeper.now += RETENTION + 1
    pinned = first.chain[1]
    keeper.collect([pinned])
    assert set(manifests(keeper.store)) == set(first.chain)
    check_whole(keeper.store, pinned)


def test_a_revert_within_the_grace_saves_what_it_refers_to(keeper: Keeper) -> None:
    old = [keeper.writer.publish() for _ in range(2)][1]
    keeper.begin_epoch()
    keeper.now += RETENTION + 1
    record = keeper.store.record(keys.head(MODEL))
    found = record.read()
    assert found is not None
    keeper.collector.collect()
    # found the retained head before it was forgotten, and is slow
    late = old.but(epoch=9, token=99)
    record.compare_and_set(found.version, late.encode())
    keeper.now += GRACE
    keeper.writer.begin()
    keeper.collector.collect()
    replayed(keeper.store, keeper.head)


def test_a_fenced_writer_removes_nothing(keeper: Keeper) -> None:
    keeper.writer.publish()
    orphan = keeper.writer.build()
    keeper.store.put_new(keys.payload(MODEL, orphan.delta.digest), b"left behind")
    keeper.collector.collect()
    keeper.writer.publisher.release()
    Writer(keeper.store, "b", seed=1).begin()
    keeper.now += GRACE
    with pytest.raises(Fenced):
        keeper.collector.collect()
    assert keeper.store.get(keys.payload(MODEL, orphan.delta.digest)) == b"left behind"
