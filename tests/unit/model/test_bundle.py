from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sample_bundle import ROWS, SCHEMA, make_model, write

from viridian_model.bundle import FILES, MANIFEST, read_bundle, verify
from viridian_model.canonical import canonical_json
from viridian_model.errors import BadBundle, BundleError, DigestMismatch
from viridian_model.inference import check_golden, infer
from viridian_model.manifest import merkle_root_of, tables_of
from viridian_model.requests import inputs_of_rows
from viridian_model.schema import Schema


def test_what_was_written_is_read_back_and_answers_the_same(tmp_path: Path) -> None:
    digest = write(tmp_path / "b")
    _, trained = make_model()
    bundle = read_bundle(tmp_path / "b", digest)
    inputs = inputs_of_rows([*ROWS, {"user": "new", "item": "new", "type": 9, "price": -3}], SCHEMA)
    assert infer(bundle.load_model(), inputs) == infer(trained, inputs)
    assert bundle.optimizer()["step"] == 3
    assert bundle.manifest.tables["user"].rows == 8
    assert bundle.manifest.to_json()["window"] == {"from": {"0": "0@0-0"}, "to": {"0": "40@5-0"}}


@pytest.mark.parametrize(
    "schema",
    [
        Schema(categorical=("user", "item", "type")),
        Schema(categorical=(), numeric=("price",)),
    ],
)
def test_fields_of_one_sort_are_enough(tmp_path: Path, schema: Schema) -> None:
    bundle = read_bundle(tmp_path / "b", write(tmp_path / "b", schema=schema))
    check_golden(bundle.load_model(), bundle.golden)


def test_the_merkle_root_covers_every_saved_tensor() -> None:
    _, model = make_model()
    roots = {merkle_root_of(model, tables_of(model))}
    for tensor in model.parameters():
        with torch.no_grad():
            tensor[...] += 1
        roots.add(merkle_root_of(model, tables_of(model)))
    assert len(roots) == 1 + len(list(model.parameters()))


def test_equal_training_gives_equal_bytes(tmp_path: Path) -> None:
    assert write(tmp_path / "a") == write(tmp_path / "b") != write(tmp_path / "c", seed=2)
    for name in (*FILES, MANIFEST):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_writing_again_keeps_the_same_bundle_and_refuses_another(tmp_path: Path) -> None:
    assert write(tmp_path / "b") == write(tmp_path / "b")
    with pytest.raises(FileExistsError):
        write(tmp_path / "b", seed=2)
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


@given(name=st.sampled_from((*FILES, MANIFEST)), data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
def test_any_flipped_bit_is_found(bundle_directory: Path, name: str, data: st.DataObject) -> None:
    digest = verify(bundle_directory).digest
    path = bundle_directory / name
    good = path.read_bytes()
    position = data.draw(st.integers(0, len(good) - 1))
    bad = bytearray(good)
    bad[position] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(bad)
    try:
        with pytest.raises(BundleError, match=name):
            read_bundle(bundle_directory, digest)
    finally:
        path.write_bytes(good)


@pytest.mark.parametrize("name", FILES)
def test_a_short_or_missing_file_is_named(bundle_directory: Path, name: str) -> None:
    os.truncate(bundle_directory / name, 5)
    with pytest.raises(DigestMismatch, match=f"{name} has 5 bytes"):
        verify(bundle_directory)
    (bundle_directory / name).unlink()
    with pytest.raises(BadBundle, match=f"{name} is missing"):
        verify(bundle_directory)


def test_another_bundle_than_wanted_is_refused(bundle_directory: Path) -> None:
    with pytest.raises(DigestMismatch, match=r"manifest\.json"):
        read_bundle(bundle_directory, "sha256:" + "0" * 64)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"schema": "viridian.bundle/v9"}, "schema"),
        ({"files": {"../../etc/passwd": {"sha256": "0" * 64, "size": 1}}}, "files"),
        ({"files": {}}, "does not list"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(bundle_directory: Path, change: dict, says: str) -> None:
    path = bundle_directory / MANIFEST
    path.write_bytes(canonical_json(json.loads(path.read_bytes()) | change))
    with pytest.raises(BadBundle, match=says):
        verify(bundle_directory)


def test_unknown_fields_of_a_later_version_count_for_the_digest_only(bundle_directory: Path) -> None:
    path = bundle_directory / MANIFEST
    before = verify(bundle_directory).digest
    path.write_bytes(canonical_json(json.loads(path.read_bytes()) | {"replayed": 3}))
    assert verify(bundle_directory).digest != before
    assert torch.isfinite(read_bundle(bundle_directory).load_model().embedding_tables()["user"].weight).all()
