"""The generated CRD, as far as it can be judged without an API server."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from viridian_operator.__main__ import main
from viridian_operator.api import crd
from viridian_operator.api.templates import RESERVED

ROOT = Path(__file__).resolve().parents[4]
Schema = dict[str, Any]

#: What a structural schema may hold, of what this project uses.
ALLOWED = {
    "additionalProperties",
    "default",
    "description",
    "enum",
    "exclusiveMaximum",
    "format",
    "items",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minItems",
    "minLength",
    "minimum",
    "pattern",
    "properties",
    "required",
    "type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-list-type",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-validations",
}


def walk(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from walk(child, f"{path}.{name}")
    if "items" in schema:
        yield from walk(schema["items"], f"{path}[]")
    if "additionalProperties" in schema:
        yield from walk(schema["additionalProperties"], f"{path}{{}}")


def root() -> Schema:
    (version,) = crd.definition()["spec"]["versions"]
    return version["schema"]["openAPIV3Schema"]


def part(name: str) -> list[tuple[str, Schema]]:
    return list(walk(root()["properties"][name], name))


EVERYTHING = [*part("spec"), *part("status")]


@pytest.mark.parametrize("path", ["crds/modelupdates.yaml", "charts/viridian/files/crds/modelupdates.yaml"])
def test_files_are_what_the_types_say(path: str) -> None:
    assert (ROOT / path).read_text() == crd.render(), "run python charts/generate.py"


def test_the_command_line_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["crd"]) == 0
    assert capsys.readouterr().out == crd.render()


def test_plain_kubectl_apply_can_keep_it_in_its_annotation() -> None:
    assert len(json.dumps(yaml.safe_load(crd.render()), separators=(",", ":"))) < crd.SIZE_LIMIT / 2


def test_only_keywords_of_structural_schemas() -> None:
    assert {key for _, schema in EVERYTHING for key in schema} <= ALLOWED
    assert all("type" in schema for _, schema in EVERYTHING)


def test_everything_is_bounded() -> None:
    for path, schema in EVERYTHING:
        kind = schema["type"]
        if kind == "string":
            assert {"maxLength", "enum", "format"} & schema.keys(), path
        if kind == "array":
            assert "maxItems" in schema, path
        if "additionalProperties" in schema:
            assert "maxProperties" in schema, path


def test_rules_speak_in_sentences() -> None:
    rules = [rule for _, schema in walk(root()) for rule in schema.get("x-kubernetes-validations", [])]
    assert len(rules) > 40
    for rule in rules:
        assert len(rule["message"].split()) > 4, rule
        assert "\n" not in rule["message"]


def test_every_field_of_the_spec_is_described() -> None:
    silent = [path for path, schema in part("spec") if "description" not in schema]
    opaque = re.compile(r"template\.|\[\]$|\{\}$")
    assert [path for path in silent if not opaque.search(path)] == []


def test_lists_with_names_are_merged_by_name() -> None:
    keys = {path: schema.get("x-kubernetes-list-map-keys") for path, schema in EVERYTHING}
    assert keys["spec.rollout.healthChecks"] == ["name"]
    assert keys["spec.gate.slices"] == ["name"]
    assert keys["status.conditions"] == ["type"]


def test_templates_are_open_and_small() -> None:
    schemas = dict(EVERYTHING)
    for path in ("spec.training.template", "spec.evaluation.template", "spec.serving.template"):
        assert schemas[path]["x-kubernetes-preserve-unknown-fields"]
        assert schemas[f"{path}.spec"]["x-kubernetes-preserve-unknown-fields"]
        assert "resources" not in schemas[f"{path}.spec.containers[]"]["properties"]


def test_contract_variables_are_reserved() -> None:
    text = (ROOT / "docs/reference/contracts.md").read_text()
    jobs = text.split("## Environment of training and evaluation Jobs")[1].split("## Result")[0]
    assert set(re.findall(r"^\| `(VIRIDIAN_[A-Z_]+)`", jobs, re.MULTILINE)) <= set(RESERVED)


def test_a_new_object_is_not_taken_for_a_finished_one() -> None:
    assert root()["properties"]["status"]["default"] == {"observedGeneration": -1, "phase": "Idle"}
