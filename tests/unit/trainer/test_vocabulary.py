"""Ids get rows when they were seen often enough and lose them when unused; no row passes anything on."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import CONFIG, data, following, parquet, rows, train_in, training

from viridian_model.contract import ModelSpec, RankingModel
from viridian_model.embedding import ExpandableEmbedding
from viridian_model.features import FeatureBatch
from viridian_model.ids import FREED, hash_ids, id_hash
from viridian_model.schema import Schema
from viridian_trainer.errors import BadConfig, BadData, Stopped
from viridian_trainer.folder_registry import FolderRegistry
from viridian_trainer.reproduce import reproduce
from viridian_trainer.spec import Admission, Eviction, split_config
from viridian_trainer.stop import StopRequest
from viridian_trainer.training.optimizer import GrowingAdagrad
from viridian_trainer.training.popularity import ItemCounts
from viridian_trainer.training.vocabulary import Vocabulary
from viridian_trainer.training.waiting import Waiting
from viridian_trainer.training_task import train_task

SCHEMA = Schema(categorical=("user",))
START = 1_000_000.0
#: Trainings, each of steps, each of events: (user, seconds since the step before).
STREAMS = st.lists(
    st.lists(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 9)), min_size=1, max_size=8), max_size=5), max_size=6
)


class Uses:
    """A table that is trained with a gradient of one per event, so that Adagrad's sums tell what a row was used for."""

    def __init__(self, admission: Admission, eviction: Eviction) -> None:
        self.policies = (admission, eviction)
        self.model: RankingModel = ModelSpec.of(SCHEMA, config={"dim": 1, "hidden": []}).build()
        self.optimizer = GrowingAdagrad(self.model, 0.1, 0.0)
        self.vocabulary = Vocabulary(self.model, self.optimizer, *self.policies)
        self.now = START

    @property
    def table(self) -> ExpandableEmbedding:
        return self.model.embedding_tables()["user"]

    def step(self, events: list[tuple[int, int]], new: int | None = None) -> list[bool]:
        """Train on one batch; gives which events had a row."""
        self.now += max(pause for _, pause in events)
        batch = FeatureBatch.from_rows([{"user": user} for user, _ in events], SCHEMA)
        times = torch.full((len(events),), self.now, dtype=torch.float64)
        self.vocabulary.meet(batch, times, len(events) if new is None else new)
        vectors = self.table(batch.categorical["user"])
        vectors.backward(torch.ones_like(vectors))
        self.optimizer.step()
        return [row > 0 for row in self.table.rows_of(batch.categorical["user"]).tolist()]

    def kept(self) -> dict[str, torch.Tensor]:
        return {**self.optimizer.state(), **self.vocabulary.state()}

    def reloaded(self) -> Uses:
        """Through files, as from parent to child."""
        other = Uses(*self.policies)
        other.model.load_state_dict(self.model.state_dict())
        other.optimizer = GrowingAdagrad(other.model, 0.1, 0.0)
        # parameters that no step has reached have no state yet
        other.optimizer.load({**other.optimizer.state(), **self.optimizer.state()})
        other.vocabulary = Vocabulary(other.model, other.optimizer, *other.policies)
        other.vocabulary.load(self.vocabulary.state(), START)
        other.now = self.now
        return other

    def sums(self) -> dict[int, float]:
        """Sum of squared gradients by hash of the id, of those that have a row."""
        total = self.optimizer.state()["adagrad/tables.field_user.weight/sum"][:, 0]
        return {int(self.table.ids[row]): float(total[row]) for row in self.table.id_rows}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@given(
    stream=STREAMS,
    count=st.integers(1, 3),
    most=st.none() | st.integers(1, 12),
    unused=st.none() | st.integers(1, 40),
)
@settings(deadline=None, max_examples=25)
def test_a_row_holds_what_its_own_id_was_trained_on_and_nothing_of_another(
    stream: list[list[list[tuple[int, int]]]], count: int, most: int | None, unused: int | None
) -> None:
    uses = Uses(Admission(count=count), Eviction(max_rows=most, unused_for=unused))
    seen, squares, last = Counter[int](), Counter[int](), dict[int, float]()
    for steps in stream:
        for events in steps:
            had_row = uses.step(events)
            users = [user for user, _ in events]
            seen.update(users)
            for user, own in Counter(user for user, had in zip(users, had_row, strict=True) if had).items():
                squares[user] += own**2
                last[user] = uses.now
            for user, had in zip(users, had_row, strict=True):
                assert had == (seen[user] >= count)
        before = {user for user in last if id_hash(user) in uses.sums()}
        gone = set(uses.vocabulary.evict()["user"].tolist())
        for user in before:
            if id_hash(user) in gone:  # it begins anew, in every respect
                del seen[user], squares[user]
        kept = {user for user in before if id_hash(user) not in gone}
        assert uses.sums() == {id_hash(user): float(squares[user]) for user in kept}
        assert most is None or len(kept) <= most
        assert all(last[user] >= max((last[other] for other in before - kept), default=0) for user in kept)
        freed = uses.table.ids == FREED
        assert not uses.table.weight[: uses.table.rows][freed].any()
        again = uses.reloaded()
        assert same(again.kept(), uses.kept())
        uses = again


def test_an_evicted_row_is_the_next_new_ids_and_all_others_stay() -> None:
    uses = Uses(Admission(), Eviction(max_rows=3))
    for user in range(5):
        uses.step([(user, 1)])
    where = {user: int(uses.table.rows_of(hash_ids([user]))) for user in range(5)}
    assert set(uses.vocabulary.evict()["user"].tolist()) == {id_hash(0), id_hash(1)}
    assert uses.table.rows_of(hash_ids(range(5))).tolist() == [0, 0, where[2], where[3], where[4]]
    uses.step([(7, 1)])
    uses.step([(1, 1)])
    assert uses.table.rows_of(hash_ids([7, 1])).tolist() == sorted([where[0], where[1]])
    assert uses.table.rows == 6


def test_a_replayed_event_is_no_sighting() -> None:
    uses = Uses(Admission(count=2), Eviction())
    uses.step([(1, 0), (2, 0)])
    assert uses.step([(3, 0), (1, 0)], new=1) == [False, False]
    assert uses.step([(1, 0)]) == [True]


def test_events_of_ids_that_were_not_admitted_teach_the_row_of_unknown_ids() -> None:
    uses = Uses(Admission(count=2), Eviction())
    uses.step([(1, 0), (1, 0)])
    uses.table.refresh_oov()
    mean = uses.table.weight[0].tolist()
    assert mean == uses.table.weight[1].tolist()
    uses.step([(2, 0)])
    learned = uses.table.weight[0].tolist()
    assert learned != mean
    again = uses.reloaded()
    for table in (uses.table, again.table):
        table.refresh_oov()
        assert table.weight[0].tolist() == learned


def test_a_few_events_from_the_future_evict_nobody() -> None:
    uses = Uses(Admission(), Eviction(unused_for=1000))
    for user in range(60):
        uses.step([(user, 1), (user, 1)])
    for _ in range(10):
        batch = FeatureBatch.from_rows([{"user": 99}], SCHEMA)
        uses.vocabulary.meet(batch, torch.tensor([START * 9], dtype=torch.float64), 1)
    assert len(uses.vocabulary.evict()["user"]) == 0
    uses.step([(user, 2000) for user in range(60, 160)])
    assert len(uses.vocabulary.evict()["user"]) == 60


def test_waiting_ids_are_bounded_and_those_seen_longest_ago_are_forgotten() -> None:
    waiting = Waiting(3)
    waiting.add([1, 2, 3, 1, 4])
    assert [waiting.seen(each) for each in (1, 2, 3, 4)] == [2, 0, 1, 1]
    other = Waiting(2)
    other.load(waiting.state())
    assert [other.seen(each) for each in (1, 3, 4)] == [2, 0, 1]


def test_changes_since_a_cursor_name_rows_that_were_written_and_rows_that_were_freed() -> None:
    uses = Uses(Admission(), Eviction(max_rows=2))
    uses.step([(1, 1), (2, 1)])
    cursor = uses.table.cursor
    assert uses.table.changed_since(cursor).written.tolist() == []
    uses.step([(3, 1), (2, 1)])
    row = {user: int(uses.table.rows_of(hash_ids([user]))) for user in (1, 2, 3)}
    uses.vocabulary.evict()
    changed = uses.table.changed_since(cursor)
    assert changed.written.tolist() == sorted([row[2], row[3]])
    assert changed.freed.tolist() == [row[1]]
    uses.step([(4, 1)])
    assert uses.table.changed_since(cursor).freed.tolist() == []
    assert len(uses.table.changed_since(0).written) == uses.table.rows - 1  # row 0 was never touched


def test_only_rows_with_an_id_can_be_evicted() -> None:
    table = ExpandableEmbedding("t", 2)
    table.grow(["a", "b"])
    assert len(table.evict(torch.tensor([1]))) == 1
    for row in (0, 1, 3):
        with pytest.raises(IndexError, match="belong to an id"):
            table.evict(torch.tensor([row]))


POLICIES = {"admission": {"count": 2}, "eviction": {"unusedFor": "1h", "maxRows": 150}}


def test_a_lineage_with_evictions_resumes_and_replays_bit_for_bit(tmp_path: Path) -> None:
    log, registry = parquet(tmp_path / "log", rows(0, 3000)), FolderRegistry(tmp_path / "r")
    task = training(log, tmp_path / "log", data=data(tmp_path / "log", replay={"ratio": 0.5}))
    task = replace(task, config={**CONFIG, **POLICIES})
    first, parent = train_in(tmp_path / "r", task, log)
    parquet(tmp_path / "log", rows(3000, 3000))
    second = following(task, first, log)
    stop = StopRequest()
    with pytest.raises(Stopped):
        train_task(second, log, registry, stop, lambda done, _: stop.request() if done >= 1000 else None)
    outcome, child = train_in(tmp_path / "r", second, log)
    for bundle in (parent, child):
        for name, table in bundle.load_model().embedding_tables().items():
            assert len(table.id_rows) <= 150
            assert len(bundle.optimizer()[f"last-seen/{name}"]) == table.rows
        assert len(ItemCounts.load(bundle.optimizer())) <= 150
    assert (parent.weights()["tables.field_user.ids"] == FREED).any()
    for version in ("1", "2"):
        ref = replace(second.parent, version=version, digest=registry.version("ctr", version).tags["viridian.digest"])
        assert reproduce(lambda: log, registry, "ctr", ref, StopRequest()).differs == ()
    assert outcome["digest"] != first["digest"]


def test_a_bundle_that_tells_no_times_counts_as_just_used_and_wrong_times_are_refused() -> None:
    uses = Uses(Admission(), Eviction(unused_for=100))
    uses.step([(1, 1), (2, 1)])
    uses.vocabulary.load({}, START + 50)
    uses.step([(3, 149 - int(uses.now - START))])
    assert len(uses.vocabulary.evict()["user"]) == 0
    with pytest.raises(BadData, match="table user"):
        uses.vocabulary.load({"last-seen/user": torch.zeros(2, dtype=torch.float64)}, START)


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"admission": {"count": 0}}, "admission.count"),
        ({"eviction": {"maxRows": 0}}, "eviction.maxRows"),
        ({"eviction": {"unusedFor": "soon"}}, "eviction.unusedFor"),
        ({"eviction": {"maxrows": 10}}, "eviction.maxrows"),
    ],
)
def test_policies_that_do_not_fit_are_refused_by_name(config: dict[str, Any], named: str) -> None:
    with pytest.raises(BadConfig, match=named):
        split_config(config)


def test_durations_are_those_of_manifests() -> None:
    trainer, _ = split_config({"eviction": {"unusedFor": "90d12h"}})
    assert trainer.eviction.unused_for == 90.5 * 86400
