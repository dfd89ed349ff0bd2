"""Events as a client asks about them; for those who have no model and need no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from viridian_model.schema import Schema


def inputs_of_rows(rows: Sequence[Mapping[str, Any]], schema: Schema) -> list[dict[str, Any]]:
    """Return the Open Inference inputs for events, as a client would send them."""
    shape = [len(rows)]
    categorical = [
        {"name": name, "datatype": "BYTES", "shape": shape, "data": [str(row[name]) for row in rows]}
        for name in schema.categorical
    ]
    numeric = [
        {"name": name, "datatype": "FP32", "shape": shape, "data": [float(row[name]) for row in rows]}
        for name in schema.numeric
    ]
    return categorical + numeric
