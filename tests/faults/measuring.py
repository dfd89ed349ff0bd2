"""Values that tests measure on their way, as JSON beside the benchmarks' results."""

from __future__ import annotations

import json
import os
import statistics
from pathlib import Path

FOLDER = Path("build/benchmarks")
#: with several workers (pytest-xdist) each has files of its own
_WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")
_values: dict[str, list[float]] = {}


def record_value(name: str, unit: str, value: float, what: str) -> None:
    """One more value of ``name``; the file holds what this run has seen so far."""
    values = _values.setdefault(name, [])
    values.append(value)
    ordered = sorted(values)
    summary = {
        "name": name,
        "what": what,
        "unit": unit,
        "n": len(ordered),
        "median": statistics.median(ordered),
        "p99": ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))],
        "worst": ordered[-1],
        "values": values,
    }
    FOLDER.mkdir(parents=True, exist_ok=True)
    file = FOLDER / "-".join(filter(None, ("faults", name, _WORKER)))
    file.with_suffix(".json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
