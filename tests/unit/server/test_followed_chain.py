"""A replica that follows a real store, in this process: chains, gaps, reverts, damaged memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from chain_replica import Replica
from live_trainer import LiveTrainer
from pod import Site, until
from redis_server import RedisServer

from viridian_model.chain.builder import Built
from viridian_model.publication import keys
from viridian_model.publication.head import Head
from viridian_model.publication.reverting import revert
from viridian_server.revision import Revision


@pytest.fixture
def new_replica(site: Site, store_url: str, trainer: LiveTrainer) -> Iterator[Callable[..., Replica]]:
    made: list[Replica] = []

    def make(**env: str) -> Replica:
        made.append(Replica(site, store_url, **env))
        return made[-1].start()

    yield make
    for replica in made:
        replica.following.close()


@pytest.fixture
def replica(new_replica: Callable[..., Replica]) -> Replica:
    return new_replica()


def test_every_sequence_answers_as_the_trainer_computed_it(replica: Replica, trainer: LiveTrainer) -> None:
    assert replica.sequence == "1.0"
    for number in range(1, 21):
        head = trainer.publish(golden=number % 5 == 0)
        replica.reaches(head.sequence)
        assert replica.answers() == trainer.offline[replica.sequence]
    trainer.compact()
    replica.reaches(trainer.publish().sequence)
    assert replica.answers() == trainer.offline["1.21"]
    trainer.begin(trainer_folder := Path(replica.following._settings.store).parent / "second", seed=2, version="4")
    assert trainer_folder.is_dir()
    replica.reaches("2.0")
    assert replica.answers() == trainer.offline["2.0"]
    assert replica.state.identity()["version"] == "4"
    assert replica.value("viridian_deltas_applied_total") == 21


def test_a_new_replica_catches_up_through_anchor_and_chain(
    new_replica: Callable[..., Replica], trainer: LiveTrainer
) -> None:
    for _ in range(40):
        trainer.publish()
    replica = new_replica()
    assert replica.sequence == "1.40"
    assert replica.answers() == trainer.offline["1.40"]
    assert [each["sequence"] for each in replica.state.identity()["residents"]] == ["1.40", "1.0"]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda store, key, data: store.delete(key), "Missing"),
        (lambda store, key, data: (store.delete(key), store.put_new(key, data[:-1])), "Truncated"),
        (lambda store, key, data: (store.delete(key), store.put_new(key, data[:-1] + b"~")), "Corrupted"),
    ],
)
def test_a_broken_link_is_refused_until_it_is_whole_again(
    replica: Replica, trainer: LiveTrainer, spoil: Callable[..., Any], reason: str
) -> None:
    replica.reaches(trainer.publish().sequence)
    built = trainer.build()
    store, key = trainer.store, keys.payload("ctr", built.delta.digest)
    store.put_new(key, built.delta.payload)
    spoil(store, key, built.delta.payload)
    store.put_new(keys.manifest("ctr", built.delta.digest), built.delta.manifest.encode())
    head = trainer.publisher.publish(built.delta) if reason != "Missing" else _publish_without(trainer, built)
    until(lambda: replica.value("viridian_deltas_refused_total", reason=reason) == 1)
    assert replica.sequence == "1.1"
    assert replica.answers() == trainer.offline["1.1"]
    assert replica.following.lag_seconds > 0
    store.delete(key)
    store.put_new(key, built.delta.payload)
    replica.reaches(head.sequence)
    until(lambda: replica.following.lag_seconds == 0)


def _publish_without(trainer: LiveTrainer, built: Built) -> Head:
    """Name a delta whose payload is not there at any moment, which no publisher does."""
    record = trainer.store.record(keys.head("ctr"))
    found = record.read()
    assert found is not None
    head, manifest = Head.parse(found.data), built.delta.manifest
    named = head.but(
        n=head.n + 1,
        chain=(*head.chain, built.delta.digest),
        root=manifest.root,
        size=head.size + manifest.payload.size,
        trained_to=manifest.trained_to,
    )
    record.compare_and_set(found.version, named.encode())
    return named


def test_a_delta_that_answers_otherwise_is_refused(replica: Replica, trainer: LiveTrainer) -> None:
    replica.reaches(trainer.publish().sequence)
    trainer.publish(wrong_golden=True)
    until(lambda: replica.value("viridian_deltas_refused_total", reason="WarmupFailed") == 1)
    assert replica.sequence == "1.1"
    revert(trainer.store, "ctr", "1.1", "bad golden requests")
    replica.reaches("2.1")
    assert replica.answers() == trainer.offline["1.1"]


def test_a_delta_of_another_model_is_refused(replica: Replica, trainer: LiveTrainer) -> None:
    replica.reaches(trainer.publish().sequence)
    trainer.builder.model = "other"
    trainer.publish()
    until(lambda: replica.value("viridian_deltas_refused_total", reason="BadDelta") == 1)
    assert replica.answers() == trainer.offline["1.1"]


def test_two_chains_of_one_model_move_by_themselves(
    new_replica: Callable[..., Replica], store_url: str, trainer: LiveTrainer, tmp_path: Path
) -> None:
    other = LiveTrainer(store_url, tmp_path / "other", seed=2, chain="ctr-2")
    mine, theirs = new_replica(), new_replica(chain="ctr-2")
    for _ in range(2):
        for replica, writer in ((mine, trainer), (theirs, other)):
            replica.reaches(writer.publish().sequence)
    theirs.reaches(other.publish().sequence)
    assert theirs.following.revert("1.1", "clicks fell") is True
    theirs.reaches("2.1")
    assert (mine.sequence, mine.answers()) == ("1.2", trainer.offline["1.2"])
    assert theirs.answers() == other.offline["1.1"]
    mine.reaches(trainer.publish().sequence)  # not fenced by writer or revert of the other chain
    assert mine.answers() == trainer.offline["1.3"]
    assert mine.value("viridian_deltas_applied_total") == 3
    assert mine.value("viridian_deltas_refused_total", reason="Head") == 0


def test_reverts_by_pointer_are_recorded_and_followed(
    replica: Replica, new_replica: Callable[..., Replica], trainer: LiveTrainer
) -> None:
    for _ in range(3):
        replica.reaches(trainer.publish().sequence)
    other = new_replica()
    assert replica.following.revert("1.2", "clicks fell") is True
    assert replica.answers() == trainer.offline["1.2"]
    for each in (replica, other):
        each.reaches("2.2")
        assert each.answers() == trainer.offline["1.2"]
    assert replica.following.revert("anchor", "all of it") is True
    for each in (replica, other):
        each.reaches("3.0")
        assert each.answers() == trainer.offline["1.0"]
    assert other.value("viridian_model_sequence", part="epoch") == 3


def test_a_revert_to_what_is_not_in_memory_comes_from_the_store(replica: Replica, trainer: LiveTrainer) -> None:
    for _ in range(6):
        replica.reaches(trainer.publish().sequence)
    assert replica.following.revert("1.1", "long ago") is True
    assert replica.sequence == "2.1"
    assert replica.answers() == trainer.offline["1.1"]


def test_a_store_that_is_away_stops_nothing_but_freshness(tmp_path: Path, site: Site) -> None:
    (tmp_path / "redis").mkdir()
    server = RedisServer(tmp_path / "redis")
    server.start()
    trainer = LiveTrainer(server.url, tmp_path / "trainer")
    replica = Replica(site, server.url).start()
    try:
        for _ in range(2):
            replica.reaches(trainer.publish().sequence)
        server.stop()
        until(lambda: replica.following.lag_seconds > 0)
        assert replica.state.ready
        # Reverted at once; what is owed to the store is told when it is back.
        assert replica.following.revert("1.1", "while the store is away") is False
        assert replica.answers() == trainer.offline["1.1"]
        assert replica.following.residents.current.position.chain == trainer.publisher.head.chain[:1]  # type: ignore[union-attr]
    finally:
        replica.following.close()
        server.stop()


def test_without_head_or_store_the_version_of_the_file_answers(site: Site, tmp_path: Path) -> None:
    digest = site.stored(seed=1)
    url = f"file://{tmp_path}/chain"
    replica = Replica(site, url)
    replica.revision = Revision("ctr", "3", digest, None, None, follow=True)
    replica.start()
    try:
        assert replica.state.identity()["sequence"] is None
        assert replica.state.identity()["digest"] == digest
        trainer = LiveTrainer(url, tmp_path / "trainer", seed=1)
        replica.reaches("1.0")
        replica.reaches(trainer.publish().sequence)
        assert replica.answers() == trainer.offline["1.1"]
    finally:
        replica.following.close()


def test_a_restarted_replica_never_serves_what_was_reverted(
    new_replica: Callable[..., Replica], trainer: LiveTrainer
) -> None:
    for _ in range(3):
        trainer.publish()
    revert(trainer.store, "ctr", "1.1", "bad")
    replica = new_replica()
    assert replica.sequence == "2.1"
    assert replica.answers() == trainer.offline["1.1"]
