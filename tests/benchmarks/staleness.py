"""What freshness is worth, and what it costs: MovieLens-100k through the local loop, an update every n events.

The first 5/7 of the ratings are the first model's, the rest is the stream. Each event of the stream is answered by
the version that was champion when it came; the AUC is pooled over the stream. The same with full retrains over the
stream shows what an update costs and what it brings. Nothing but the interval differs between the runs of a seed and
a variant: ``plain`` knows user, item and what is known of them, ``history`` also the last items that the user rated,
and repeats one event of the past with each new one.

Users rate in one sitting, and most users of the stream are new in it: only updates within the sitting know them. AUCs
of users and items that were known before the stream stand beside the others for that reason.

All of it takes hours; ``VARIANTS``, ``INTERVALS``, ``SEEDS`` (each with commas) and ``RETRAINS`` choose a part.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from itertools import batched, chain, islice, product
from pathlib import Path
from typing import Any

from tests.benchmarks.result import Result
from tests.benchmarks.updating import (
    Answers,
    Flags,
    Line,
    Start,
    deviation,
    plot_costs,
    plot_staleness,
    seconds_of,
    tell,
)

from viridian_demo.events import fetch_movielens
from viridian_demo.screen import Screen
from viridian_model.ids import id_hash
from viridian_trainer import movielens
from viridian_trainer.eventlog.parquet import ParquetEventLog, write_segment

EVENTS, STREAM_FROM, SEGMENT = 100_000, 71_428, 2_000
NEVER = 0
INTERVALS = tuple(int(n) for n in os.environ.get("INTERVALS", "16,32,160,800").split(","))
SEEDS = tuple(int(n) for n in os.environ.get("SEEDS", "1,2,3").split(","))
RETRAIN_EVERY = -(-(EVENTS - STREAM_FROM) // int(os.environ.get("RETRAINS", "10")))
MODEL = "movielens"
CONFIG = {"batchSize": 16, "learningRate": 0.05, "dim": 16, "hidden": [64, 32]}
HISTORY = 10


@dataclass(frozen=True)
class Variant:
    """What models know of an event, and how many events of the past they repeat with each new one."""

    pools: dict[str, tuple[str, ...]] = field(default_factory=dict)
    replay: float = 0.0

    @property
    def fields(self) -> tuple[str, ...]:
        """Fields of an event."""
        return (*movielens.FIELDS, *chain.from_iterable(self.pools.values()))

    @property
    def config(self) -> dict[str, Any]:
        """``spec.training.config``."""
        pools = {name: {"table": "item", "fields": fields} for name, fields in self.pools.items()}
        return {**CONFIG, **({"pools": pools} if pools else {})}


VARIANTS = {"plain": Variant(), "history": Variant(movielens.history_fields(HISTORY), replay=1.0)}
CHOSEN = os.environ.get("VARIANTS", "plain,history").split(",")


SLICES: dict[str, Callable[[Answers], list[Flags] | None]] = {
    "all": lambda each: None,
    "known users": lambda each: each.known_users,
    "known items": lambda each: each.known_items,
}
STYLES = {"all": "o-", "known users": "s:", "known items": "^:"}
Runs = dict[tuple[str, int], list[Answers]]
"""By variant and interval, one of each seed."""


def run() -> Result:
    """AUC of the shortest interval against that of never updating; the whole curve is in ``extra``."""
    fetch_movielens(Screen())
    found: Runs = {(name, each): [] for name in CHOSEN for each in (NEVER, *sorted(INTERVALS, reverse=True))}
    retrained: dict[str, list[Answers]] = {name: [] for name in CHOSEN}
    with tempfile.TemporaryDirectory() as folder:
        log = movielens_log(Path(folder) / "log")
        for seed, name in product(SEEDS, CHOSEN):
            start = first_model(log, Path(folder), seed, name)
            for interval in (each for each_name, each in found if each_name == name):
                found[name, interval].append(start.stream(interval or EVENTS))
                tell(f"{name}, seed {seed}, update every {interval or 'never'}", found[name, interval][-1])
            retrained[name].append(start.stream(RETRAIN_EVERY, full_every=1))
            tell(f"{name}, seed {seed}, retrained fully every {RETRAIN_EVERY}", retrained[name][-1])
    plot_staleness("staleness.png", "MovieLens-100k", "AUC over the stream", _lines(found))
    plot_costs("staleness-cost.png", "What an update costs and brings, MovieLens-100k", _points(found, retrained))
    best, fastest = CHOSEN[-1], min(INTERVALS)
    return Result(
        f"AUC with an update every {fastest} events ({best})",
        "AUC",
        [each.auc() for each in found[best, fastest]],
        f"AUC without updates ({best})",
        [each.auc() for each in found[best, NEVER]],
        _curve(found) | _costs(found, retrained) | {"CPU seconds of process start and imports": _start_seconds()},
    )


def movielens_log(folder: Path) -> ParquetEventLog:
    for rows in batched(movielens.events(HISTORY), SEGMENT):
        write_segment(folder, "0", rows)
    return ParquetEventLog(folder)


def first_model(log: ParquetEventLog, folder: Path, seed: int, variant: str) -> Start:
    """What all runs of a seed and variant begin with; ``folder`` holds the log."""
    chosen = VARIANTS[variant]
    data = {
        "source": {"parquet": {"path": str(folder / "log")}},
        "schema": {"categorical": chosen.fields},
        "holdout": {"fraction": 0.01},
        "replay": {"ratio": chosen.replay},
    }
    registry, sizes = folder / f"first-{variant}-{seed}", (STREAM_FROM, EVENTS)
    return Start(registry, log, data, chosen.config, MODEL, *sizes, seed, _known()).train()


@cache
def _known() -> tuple[frozenset[int], frozenset[int]]:
    """Hashes of users and items before the stream."""
    rows = list(islice(movielens.events(), STREAM_FROM))
    return frozenset(id_hash(row["user"]) for row in rows), frozenset(id_hash(row["item"]) for row in rows)


def _curve(found: Runs) -> dict[str, float]:
    """Means over the seeds, and their standard deviation."""
    values: dict[str, float] = {}
    for (variant, interval), runs in found.items():
        name = f"{variant}, every {interval}" if interval else f"{variant}, never"
        aucs = [each.auc() for each in runs]
        values[f"AUC, {name}"] = statistics.mean(aucs)
        values[f"AUC, {name}, deviation"] = deviation(aucs)
        values[f"AUC of known users, {name}"] = statistics.mean(each.auc(each.known_users) for each in runs)
        values[f"AUC of known items, {name}"] = statistics.mean(each.auc(each.known_items) for each in runs)
    return values


def _costs(found: Runs, retrained: dict[str, list[Answers]]) -> dict[str, float]:
    """CPU seconds of updates and full retrains, both without process start and imports."""
    values: dict[str, float] = {}
    for name, runs in retrained.items():
        values[f"AUC, {name}, full retrain every {RETRAIN_EVERY}"] = statistics.mean(each.auc() for each in runs)
        values[f"CPU seconds, {name}, full retrain"] = seconds_of(runs)
    for (name, interval), runs in found.items():
        if interval:
            values[f"CPU seconds, {name}, update every {interval}"] = seconds_of(runs)
            values[f"full retrain / update, {name}, every {interval}"] = seconds_of(retrained[name]) / seconds_of(runs)
    return values


def _start_seconds() -> float:
    """CPU seconds of a process that does nothing but import what a training needs."""
    before = os.times()
    subprocess.run([sys.executable, "-c", "import viridian_trainer.task"], check=True)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def _lines(found: Runs) -> list[Line]:
    intervals = sorted(INTERVALS)
    return [
        Line(
            f"{variant}, {name}",
            {interval: [one.auc(known(one)) for one in found[variant, interval]] for interval in intervals},
            STYLES[name],
            statistics.mean(each.auc() for each in found[variant, NEVER]) if name == "all" else None,
        )
        for variant in CHOSEN
        for name, known in SLICES.items()
    ]


def _points(found: Runs, retrained: dict[str, list[Answers]]) -> dict[str, tuple[str, list[list[Answers]]]]:
    points: dict[str, tuple[str, list[list[Answers]]]] = {}
    for variant in CHOSEN:
        points[f"{variant}, updates"] = ("o-", [found[variant, interval] for interval in sorted(INTERVALS)])
        points[f"{variant}, full retrain"] = ("s", [retrained[variant]])
    return points
