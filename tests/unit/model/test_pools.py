"""Pools of DeepFM: several fields with ids of one table become one vector."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from viridian_model.bundle import finish
from viridian_model.canonical import canonical_json
from viridian_model.contract import ModelSpec
from viridian_model.deepfm import DeepFM
from viridian_model.errors import BadBundle
from viridian_model.features import FeatureBatch
from viridian_model.inference import check_golden, golden_answers, infer
from viridian_model.requests import inputs_of_rows
from viridian_model.schema import Schema

SCHEMA = Schema(categorical=("user", "item", "last0", "last1"))
POOLS = {"last": {"table": "item", "fields": ["last0", "last1"]}}
ROWS: list[dict[str, Any]] = [
    {"user": "u", "item": "a", "last0": "b", "last1": "c"},
    {"user": "u", "item": "a", "last0": "c", "last1": "b"},
    {"user": "u", "item": "a", "last0": "b", "last1": ""},
    {"user": "u", "item": "a", "last0": "", "last1": ""},
]


def model() -> DeepFM:
    torch.manual_seed(3)
    built = ModelSpec.of(SCHEMA, config={"dim": 4, "hidden": [8], "pools": POOLS}).build()
    assert isinstance(built, DeepFM)
    for name, table in built.embedding_tables().items():
        table.grow([row[name] for row in ROWS] + ["b", "c"])
        torch.nn.init.normal_(table.weight)
    return built.eval()


def test_a_pool_is_the_mean_over_its_fields_in_any_order_and_empty_ones_add_nothing() -> None:
    built = model()
    assert built.embedding_tables().keys() == {"user", "item"}
    both, turned, one, none = infer(built, inputs_of_rows(ROWS, SCHEMA))[0]["data"]
    assert both == pytest.approx(turned, abs=1e-6)
    assert len({round(value, 5) for value in (both, one, none)}) == 3
    table, pool = built.embedding_tables()["item"], built.pools["field_last"]
    batch = FeatureBatch.from_rows(ROWS, SCHEMA)
    vectors = {name: pool(table(batch.categorical["last0"][[row]]))[0] for name, row in (("b", 0), ("c", 1))}
    pooled = built._pooled("last", built.config.pools["last"], table, batch)
    assert torch.allclose(pooled[0], (vectors["b"] + vectors["c"]) / 2, atol=1e-6)
    assert torch.allclose(pooled[2], vectors["b"] / 2, atol=1e-6)
    assert not pooled[3].any()


def test_a_model_with_pools_answers_the_same_when_model_json_was_read() -> None:
    pools = {name: {"table": "item", "fields": [field]} for name, field in (("newest", "last0"), ("before", "last1"))}
    spec = ModelSpec.of(SCHEMA, config={"dim": 4, "hidden": [8], "pools": pools})
    built = finish(spec.build())
    for table in built.embedding_tables().values():
        table.grow(["u", "a", "b", "c"])
    loaded = ModelSpec.from_json(json.loads(canonical_json(spec.to_json()))).build()
    loaded.load_state_dict(built.state_dict())
    check_golden(loaded.eval(), golden_answers(built, [inputs_of_rows(ROWS, SCHEMA)], tolerance=1e-7))


@pytest.mark.parametrize(
    "pools",
    [
        {"last": {"table": "item", "fields": ["last0", "nowhere"]}},
        {"last": {"table": "genre", "fields": ["last0"]}},
        {"last": {"table": "last1", "fields": ["last0", "last1"]}},
        {"last": {"table": "item", "fields": ["last0"]}, "more": {"table": "item", "fields": ["last0"]}},
        {"last": {"table": "item", "fields": []}},
    ],
)
def test_pools_that_do_not_fit_the_schema_are_refused(pools: dict[str, Any]) -> None:
    with pytest.raises(BadBundle, match="pools"):
        ModelSpec.of(SCHEMA, config={"pools": pools}).build()
