"""What freshness is worth, and what it costs, where it is known when the world changes: the generator with drift.

The same as `staleness`, in a world whose tastes and popularity change three times within the stream. Beside the AUC
stand the log loss and the CPU seconds of all updates together.
Smaller runs: ``EVENTS`` (24,000, a quarter of them the first model's), ``DRIFT_INTERVALS`` and ``SEEDS`` (with commas).
"""

from __future__ import annotations

import os
import statistics
import tempfile
from itertools import product
from pathlib import Path

from tests.benchmarks.drift import changing_log
from tests.benchmarks.result import Result
from tests.benchmarks.updating import (
    Answers,
    Line,
    Start,
    deviation,
    plot_costs,
    plot_staleness,
    seconds_of,
    tell,
)

EVENTS = int(os.environ.get("EVENTS", "24000"))
FIRST = EVENTS // 4
CHANGES = (EVENTS * 3 // 8, EVENTS * 5 // 8, EVENTS * 7 // 8)
INTERVALS = tuple(int(n) for n in os.environ.get("DRIFT_INTERVALS", "100,300,1000,3000").split(","))
SEEDS = tuple(int(n) for n in os.environ.get("SEEDS", "1,2,3").split(","))
NEVER, RETRAIN_EVERY = 0, (EVENTS - FIRST) // 6
MODEL = "drift"
CONFIG = {"batchSize": 32, "learningRate": 0.05}
Runs = dict[int, list[Answers]]
"""By interval, one of each seed."""


def run() -> Result:
    """Log loss with the shortest interval against that of never updating; the curves are in ``extra``."""
    found: Runs = {interval: [] for interval in (NEVER, *sorted(INTERVALS, reverse=True))}
    retrained: list[Answers] = []
    for seed in SEEDS:
        with tempfile.TemporaryDirectory() as name:
            start = _start(Path(name), seed)
            for interval, runs in found.items():
                runs.append(start.stream(interval or EVENTS))
                tell(f"seed {seed}, update every {interval or 'never'}", runs[-1])
            retrained.append(start.stream(RETRAIN_EVERY, full_every=1))
            tell(f"seed {seed}, retrained fully every {RETRAIN_EVERY}", retrained[-1])
    _plot(found, retrained)
    fastest = min(INTERVALS)
    return Result(
        f"log loss with an update every {fastest} events, {len(CHANGES)} changes in {EVENTS - FIRST} events",
        "nats",
        [each.metric("logloss") for each in found[fastest]],
        "log loss without updates",
        [each.metric("logloss") for each in found[NEVER]],
        _values({f"every {each}" if each else "never": runs for each, runs in found.items()})
        | _values({f"full retrain every {RETRAIN_EVERY}": retrained}),
    )


def _start(folder: Path, seed: int) -> Start:
    log = changing_log(folder / "log", seed, EVENTS, CHANGES)
    source, schema = {"parquet": {"path": str(folder / "log")}}, {"categorical": ["user", "item", "hour"]}
    data = {"source": source, "schema": schema, "holdout": {"fraction": 0.01}}
    return Start(folder / "first", log, data, CONFIG, MODEL, FIRST, EVENTS, seed).train()


def _values(runs: dict[str, list[Answers]]) -> dict[str, float]:
    """Means over the seeds, and what they cost."""
    values: dict[str, float] = {}
    for (name, each), metric in product(runs.items(), ("auroc", "logloss")):
        found = [one.metric(metric) for one in each]
        values[f"{metric}, {name}"] = statistics.mean(found)
        values[f"{metric}, {name}, deviation"] = deviation(found)
    for name, each in runs.items():
        if any(one.cpu for one in each):
            values[f"CPU seconds of an update, {name}"] = seconds_of(each)
            values[f"CPU seconds of all updates, {name}"] = statistics.mean(sum(one.cpu) for one in each)
    return values


def _plot(found: Runs, retrained: list[Answers]) -> None:
    intervals = sorted(INTERVALS)
    for metric, label in (("auroc", "AUC"), ("logloss", "log loss")):
        values = {each: [one.metric(metric) for one in found[each]] for each in intervals}
        never = statistics.mean(one.metric(metric) for one in found[NEVER])
        title = f"Generator, {len(CHANGES)} changes"
        line = Line("updates", values, never=never)
        plot_staleness(f"staleness-drift-{metric}.png", title, f"{label} over the stream", [line])
    points = {"updates": ("o-", [found[each] for each in intervals]), "full retrain": ("s", [retrained])}
    plot_costs("staleness-drift-cost.png", "What an update costs and brings, generator", points)
