"""What a benchmark found, as JSON and as one line."""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass, field
from pathlib import Path

FOLDER = Path("build/benchmarks")


@dataclass(frozen=True)
class Result:
    """Values of one quantity beside those of a baseline of the same run."""

    what: str
    unit: str
    values: list[float]
    baseline_what: str
    baseline: list[float]
    extra: dict[str, float] = field(default_factory=dict)

    def summary(self, name: str) -> dict[str, object]:
        """Name, unit, n, median, p99, worst, baseline and ratio of the medians."""
        ordered = sorted(self.values)
        median, base = statistics.median(ordered), statistics.median(self.baseline)
        return {
            "name": name,
            "what": self.what,
            "unit": self.unit,
            "n": len(ordered),
            "median": median,
            "p99": ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))],
            "worst": ordered[-1],
            "baseline": {
                "what": self.baseline_what,
                "n": len(self.baseline),
                "median": base,
                "worst": max(self.baseline),
            },
            "ratio": median / base if base else None,
            **self.extra,
        }

    def write(self, name: str) -> None:
        """Write ``build/benchmarks/NAME.json`` and print the summary."""
        FOLDER.mkdir(parents=True, exist_ok=True)
        summary = self.summary(name)
        (FOLDER / f"{name}.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
        print(json.dumps(summary))
