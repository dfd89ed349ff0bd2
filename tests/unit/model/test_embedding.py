from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from viridian_model.contract import ModelSpec
from viridian_model.embedding import ExpandableEmbedding
from viridian_model.features import FeatureBatch
from viridian_model.growth import grow_tables
from viridian_model.ids import IdIndex, hash_ids
from viridian_model.schema import Schema

IDS = st.lists(st.integers(0, 3000) | st.text(max_size=3), max_size=60)


def batch_of(ids: Iterable[int]) -> FeatureBatch:
    return FeatureBatch.from_rows([{"user": value} for value in ids], Schema(categorical=("user",)))


def vectors(table: ExpandableEmbedding, ids: list) -> torch.Tensor:
    return table(hash_ids(ids)).detach()


@given(parts=st.lists(IDS, max_size=6))
@settings(deadline=None)
def test_rows_do_not_depend_on_the_order_of_arrival(parts: list[list]) -> None:
    everything = [value for part in parts for value in part]
    piecewise, backwards = ExpandableEmbedding("t", 3), ExpandableEmbedding("t", 3)
    for part in parts:
        known = piecewise.rows
        assert piecewise.grow(part).tolist() == list(range(known, piecewise.rows))
        assert piecewise.rows <= piecewise.capacity
    backwards.grow(everything[::-1])
    assert piecewise.rows == backwards.rows == 1 + len({str(value) for value in everything})
    assert torch.equal(vectors(piecewise, everything), vectors(backwards, everything))


def test_index_finds_every_id_across_merges() -> None:
    index = IdIndex(np.array([0], dtype=np.int64))
    for start in range(0, 20_000, 700):
        index.add(hash_ids(range(start, start + 900)).numpy())
    rows = index.rows_of(hash_ids(range(len(index) - 1)).numpy())
    assert sorted(rows) == list(range(1, len(index)))
    assert index.rows_of(hash_ids(["never", "seen"]).numpy()).tolist() == [0, 0]


def test_unknown_id_is_answered_by_the_mean_and_new_rows_start_there() -> None:
    table = ExpandableEmbedding("t", 4)
    table.grow(["a", "b"])
    with torch.no_grad():
        table.weight[1:3] = torch.tensor([[1.0] * 4, [3.0] * 4])
    table.refresh_oov()
    assert vectors(table, ["?"]).tolist() == [[2.0] * 4]
    table.grow(["c"])
    assert torch.allclose(vectors(table, ["c"]), torch.full((1, 4), 2.0), atol=0.011)
    assert not torch.equal(vectors(table, ["c"]), vectors(table, ["?"]))


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("start", [0.0, 0.5])
def test_growing_in_training_equals_a_table_that_was_large_from_the_start(sparse: bool, start: float) -> None:
    def trained(first: int) -> list[float]:
        model = ModelSpec.of(Schema(categorical=("user",)), config={"dim": 1, "sparse": sparse}).build()
        for parameter in model.parameters():
            torch.nn.init.constant_(parameter, 0.1)
        optimizer = torch.optim.Adagrad(model.parameters(), lr=0.1, initial_accumulator_value=start)
        grow_tables(model, batch_of(range(first)).categorical, optimizer)
        for step in range(1, 12):
            batch = batch_of(range(5 * step))
            grow_tables(model, batch.categorical, optimizer)
            optimizer.zero_grad()
            (model(batch) - 1).square().sum().backward()
            optimizer.step()
        logits: list[float] = model(batch_of(range(60))).tolist()
        return logits

    assert trained(1) == trained(55)


def test_state_dict_holds_rows_in_use_and_restores_the_ids() -> None:
    table = ExpandableEmbedding("t", 2)
    for count in range(1, 40, 3):
        table.grow(range(count))
    state = table.state_dict()
    assert table.capacity > len(state["weight"]) == len(state["ids"]) == table.rows
    other = ExpandableEmbedding("t", 2)
    other.load_state_dict(state)
    assert torch.equal(vectors(other, [*range(37), "x"]), vectors(table, [*range(37), "x"]))
    other.grow([1000])
    assert other.rows == table.rows + 1


@pytest.mark.parametrize(
    "state",
    [
        {"weight": torch.zeros(2, 3), "ids": torch.tensor([0, 1])},
        {"weight": torch.zeros(2, 2), "ids": torch.tensor([0, 1, 2])},
        {"weight": torch.zeros(2, 2), "ids": torch.tensor([5, 1])},
        {"weight": torch.zeros(3, 2), "ids": torch.tensor([0, 7, 7])},
        {"weight": torch.zeros(2, 2)},
    ],
)
def test_a_table_that_does_not_fit_is_refused(state: dict) -> None:
    with pytest.raises(RuntimeError):
        ExpandableEmbedding("t", 2).load_state_dict(state)
