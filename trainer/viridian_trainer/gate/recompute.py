"""The verdict once more, from the stored evidence alone: no model, no event log, no registry."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from viridian_trainer.errors import GateInputMissing
from viridian_trainer.gate.evaluate import CANDIDATE, Judged, judge
from viridian_trainer.gate.report import EVIDENCE, LOGIT, PREDICTIONS, SLICE, TAIL, comparisons, summary
from viridian_trainer.gate.scoring import Holdout
from viridian_trainer.spec import Gate, parse_part

#: What must come out the same.
_COMPARED = ("verdict", "reason", "message", "difference", "events", "users", "failed")


@dataclass(frozen=True)
class Recomputed:
    """The verdict that follows from the evidence, and the names of what was recorded otherwise."""

    judged: Judged
    differs: tuple[str, ...]


def recompute(folder: Path) -> Recomputed:
    """Judge again from ``evidence.json`` and ``predictions.parquet`` in ``folder``.

    The checks of hygiene are taken over as recorded: they need the weights, which are in the registry.

    Raises
    ------
    GateInputMissing
        If a file is missing or is no evidence.
    """
    try:
        recorded: dict[str, Any] = json.loads((folder / EVIDENCE).read_bytes())
        table = pq.read_table(folder / PREDICTIONS)
        gate = parse_part(Gate, recorded["gate"], "gate of the evidence")
        candidate, hygiene = recorded["versions"][CANDIDATE]["digest"], recorded["hygiene"]
        holdout = _holdout(table, recorded)
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise GateInputMissing(f"{folder} holds no evidence of an evaluation: {error}") from None
    tail = table[TAIL].to_numpy() if TAIL in table.column_names else None
    judged = judge(gate, candidate, holdout, _columns(table, LOGIT), hygiene, _columns(table, SLICE), tail)
    found = summary(judged) | comparisons(judged)
    compared = (*_COMPARED, *comparisons(judged))
    return Recomputed(judged, tuple(name for name in compared if found[name] != recorded.get(name)))


def _holdout(table: pa.Table, recorded: dict[str, Any]) -> Holdout:
    return Holdout(
        ids=table["id"].to_pylist(),
        times=table["time"].to_numpy(),
        users=table["user"].to_numpy(),
        items=table["item"].to_numpy(),
        labels=table["label"].to_numpy().astype(np.float64),
        fields={},
        duplicates=recorded["duplicates"],
        rejected=recorded["rejected"],
    )


def _columns(table: pa.Table, prefix: str) -> dict[str, Any]:
    """Columns of ``table`` by what follows ``prefix`` in their names."""
    names = [name for name in table.column_names if name.startswith(prefix)]
    return {name.removeprefix(prefix): table[name].to_numpy() for name in names}
