"""A small trained-looking model and its bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from viridian_model.bundle import finish, write_bundle
from viridian_model.contract import ModelSpec, RankingModel
from viridian_model.inference import golden_answers
from viridian_model.manifest import Code, Provenance, Window
from viridian_model.requests import inputs_of_rows
from viridian_model.schema import Schema

SCHEMA = Schema(categorical=("user", "item", "type"), numeric=("price",))
ROWS: list[dict[str, Any]] = [
    {"user": f"u{n % 7}", "item": f"i{n % 5}", "type": n % 3, "price": n / 4, "label": n % 2} for n in range(40)
]


def make_model(*, seed: int = 1, schema: Schema = SCHEMA) -> tuple[ModelSpec, RankingModel]:
    """Build a model that knows the ids of `ROWS`, with random weights."""
    torch.manual_seed(seed)
    spec = ModelSpec.of(schema, config={"dim": 4, "hidden": [8]})
    model = spec.build()
    for name, table in model.embedding_tables().items():
        table.grow([row[name] for row in ROWS])
        with torch.no_grad():
            table.weight[: table.rows] += torch.randn(table.rows, table.dim) * 0.3
    return spec, finish(model)


def write(directory: Path, *, seed: int = 1, schema: Schema = SCHEMA) -> str:
    """Write the bundle of `make_model` and return its digest."""
    spec, model = make_model(seed=seed, schema=schema)
    provenance = Provenance(
        model="ctr",
        kind="Full",
        lineage="uid/1",
        window=Window(start={"0": "0@0-0"}, to={"0": "40@5-0"}),
        trained_to={"0": "36@4-0"},
        event_time=1732453000.5,
        seed=seed,
        events={"trained": 36},
        code=Code(version="0.1.0"),
    )
    return write_bundle(
        directory,
        provenance=provenance,
        spec=spec,
        model=model,
        optimizer={"step": torch.tensor(3)},
        golden=golden_answers(model, [inputs_of_rows(ROWS[:2], schema), inputs_of_rows(ROWS[5:6], schema)]),
    )
