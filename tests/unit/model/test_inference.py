from __future__ import annotations

import copy

import pytest
import torch
from sample_bundle import ROWS, SCHEMA, make_model

from viridian_model.contract import ModelSpec, resolve
from viridian_model.errors import BadBundle, InputError, WarmupFailed
from viridian_model.features import FeatureBatch
from viridian_model.inference import Golden, check_golden, golden_answers, infer
from viridian_model.requests import inputs_of_rows

GOOD = inputs_of_rows(ROWS[:2], SCHEMA)


def changed(position: int, **change: object) -> list[dict]:
    inputs = copy.deepcopy(GOOD)
    inputs[position].update(change)
    return inputs


def test_rows_and_inputs_give_the_same_batch() -> None:
    from_rows = FeatureBatch.from_rows(ROWS, SCHEMA)
    from_inputs = FeatureBatch.from_inputs(inputs_of_rows(ROWS, SCHEMA), SCHEMA)
    for name, values in (from_rows.categorical | from_rows.numeric).items():
        assert torch.equal(values, (from_inputs.categorical | from_inputs.numeric)[name])
    part = from_rows.take(slice(3, 8))
    assert len(part) == len(part.numeric["price"]) == 5


def test_integers_and_their_text_are_the_same_id() -> None:
    _, model = make_model()
    assert infer(model, GOOD) == infer(model, changed(2, datatype="INT64", data=[0, 1]))


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        ({"user": 1}, "send inputs as a list"),
        (GOOD[1:], "'user' is missing"),
        ([*GOOD, {"name": "age", "datatype": "FP32", "shape": [2], "data": [1, 2]}], "unknown input 'age'"),
        ([*GOOD, GOOD[0]], "stands twice"),
        (changed(0, data=["u1"]), "send shape \\[1\\]"),
        (changed(0, data=["u1"], shape=[1]), "same length"),
        (changed(0, data=[], shape=[0]), "at least one"),
        (changed(0, shape=[2, 1]), "send shape"),
        (changed(0, datatype="FP32", data=[1.0, 2.0]), "send BYTES"),
        (changed(0, data=["u1", 3]), "data\\[1\\] is 3"),
        (changed(2, datatype="INT64", data=[1, True]), "data\\[1\\] is True"),
        (changed(3, datatype="BYTES", data=["1", "2"]), "send FP32"),
        (changed(3, data=[1.0, float("nan")]), "finite"),
        (changed(3, data=[1.0, 1e300]), "finite"),
        (changed(3, data=[1.0, None]), "needs a number"),
        (changed(0, name=["user"]), "unknown input"),
    ],
)
def test_inputs_that_do_not_fit_say_what_to_send(inputs: object, says: str) -> None:
    with pytest.raises(InputError, match=says):
        FeatureBatch.from_inputs(inputs, SCHEMA)


@pytest.mark.parametrize(
    "row",
    [
        {**ROWS[0], "user": None},
        {**ROWS[0], "user": 1.5},
        {**ROWS[0], "price": "x"},
        {**ROWS[0], "price": 10**400},
    ],
)
def test_rows_that_do_not_fit_are_named(row: dict) -> None:
    with pytest.raises(InputError, match="row 1: field"):
        FeatureBatch.from_rows([ROWS[0], row], SCHEMA)


def test_golden_requests_catch_other_weights_and_nan() -> None:
    _, model = make_model()
    golden = golden_answers(model, [GOOD])
    check_golden(model, golden)
    with pytest.raises(WarmupFailed, match="golden request 0: probability"):
        check_golden(make_model(seed=2)[1], golden)
    with torch.no_grad():
        model.embedding_tables()["user"].weight[:] = float("nan")
    with pytest.raises(WarmupFailed, match="is nan"):
        check_golden(model, golden)


@pytest.mark.parametrize("threads", [1, 2])
def test_batches_and_threads_do_not_change_the_answer(threads: int) -> None:
    _, model = make_model()
    single = [infer(model, inputs_of_rows([row], SCHEMA))[0]["data"][0] for row in ROWS]
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        together = infer(model, inputs_of_rows(ROWS, SCHEMA))[0]["data"]
    finally:
        torch.set_num_threads(before)
    assert together == pytest.approx(single, abs=1e-6)


@pytest.mark.parametrize(
    ("architecture", "says"),
    [
        ("viridian_model.deepfm", "not of the form"),
        ("no_such_package.models:X", "not in this image"),
        ("viridian_model.deepfm:Nothing", "has no Nothing"),
        ("os:system", "not a torch.nn.Module"),
        ("torch.nn:Linear", "lacks from_config"),
    ],
)
def test_architectures_that_cannot_be_used(architecture: str, says: str) -> None:
    with pytest.raises(BadBundle, match=says):
        resolve(architecture)


def test_bad_configs_and_files_say_what_is_wrong() -> None:
    with pytest.raises(BadBundle, match="refuses its config"):
        ModelSpec.of(SCHEMA, config={"dims": 3}).build()
    with pytest.raises(BadBundle, match=r"model.json does not fit: schema"):
        ModelSpec.from_json({"architecture": "a:B", "config": {}})
    with pytest.raises(BadBundle, match=r"golden.json does not fit: requests"):
        Golden.from_json({"tolerance": 1e-4, "requests": []})
