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
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import batched, chain, islice, product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tests.benchmarks.result import FOLDER, Result

from viridian_demo.events import fetch_movielens
from viridian_demo.screen import Screen
from viridian_model.ids import id_hash
from viridian_trainer import movielens
from viridian_trainer.download import fetch_bundle
from viridian_trainer.eventlog import Entry, Window, read
from viridian_trainer.eventlog.dedup import RecentIds
from viridian_trainer.eventlog.parquet import ParquetEventLog, write_segment
from viridian_trainer.folder_registry import FolderRegistry
from viridian_trainer.gate.metrics import metrics_of
from viridian_trainer.gate.scoring import score
from viridian_trainer.loop import Loop, LoopSettings
from viridian_trainer.spec import Data, Gate
from viridian_trainer.stop import StopRequest

EVENTS, STREAM_FROM, SEGMENT = 100_000, 71_428, 2_000
NEVER = 0
INTERVALS = tuple(int(n) for n in os.environ.get("INTERVALS", "16,32,160,800").split(","))
SEEDS = tuple(int(n) for n in os.environ.get("SEEDS", "1,2,3").split(","))
RETRAIN_EVERY = -(-(EVENTS - STREAM_FROM) // int(os.environ.get("RETRAINS", "10")))
MODEL = "movielens"
CONFIG = {"batchSize": 16, "learningRate": 0.05, "dim": 16, "hidden": [64, 32]}
HISTORY = 10
#: every update becomes champion: what is measured is what freshness is worth, not the gate
OPEN_GATE = Gate(min_events=1, margin=1e6)
Floats = NDArray[np.float64]


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


@dataclass
class Answers:
    """Logits and labels ``[n]`` of the stream so far, and the CPU seconds of each update."""

    logits: list[Floats] = field(default_factory=list)
    labels: list[Floats] = field(default_factory=list)
    known_users: list[NDArray[np.bool_]] = field(default_factory=list)
    known_items: list[NDArray[np.bool_]] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def auc(self, known: list[NDArray[np.bool_]] | None = None) -> float:
        """Of all answers, or of those with what is ``known``."""
        logits, labels = np.concatenate(self.logits), np.concatenate(self.labels)
        chosen = np.concatenate(known) if known else np.ones(len(labels), dtype=np.bool_)
        return metrics_of(logits[chosen], labels[chosen])["auroc"]


SLICES: dict[str, Callable[[Answers], list[NDArray[np.bool_]] | None]] = {
    "all": lambda each: None,
    "known users": lambda each: each.known_users,
    "known items": lambda each: each.known_items,
}
LINES = {"plain": "-.", "history": "--"}
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
                found[name, interval].append(_stream(log, start, interval or EVENTS))
                _tell(f"{name}, seed {seed}, update every {interval or 'never'}", found[name, interval][-1])
            retrained[name].append(_stream(log, start, RETRAIN_EVERY, full_every=1))
            _tell(f"{name}, seed {seed}, retrained fully every {RETRAIN_EVERY}", retrained[name][-1])
    _plot_curve(found)
    _plot_costs(found, retrained)
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


@dataclass(frozen=True)
class Start:
    """The first model that all runs of a seed and variant begin with, in ``folder``."""

    folder: Path
    seed: int
    variant: Variant

    def settings(self, interval: int, full_every: int = 0) -> LoopSettings:
        """Of a loop that begins here."""
        return LoopSettings(
            model=MODEL,
            data=Data.model_validate(
                {
                    "source": {"parquet": {"path": str(self.folder.parent / "log")}},
                    "schema": {"categorical": self.variant.fields},
                    "holdout": {"fraction": 0.01},
                    "replay": {"ratio": self.variant.replay},
                }
            ),
            checkpoints=self.folder.parent / "checkpoints",
            interval=interval,
            first=STREAM_FROM,
            full_every=full_every,
            config=self.variant.config,
            gate=OPEN_GATE,
            seed=self.seed,
            evidence=False,
        )


def first_model(log: ParquetEventLog, folder: Path, seed: int, variant: str) -> Start:
    start = Start(folder / f"first-{variant}-{seed}", seed, VARIANTS[variant])
    (record,) = Loop(log, FolderRegistry(start.folder), start.settings(EVENTS), StopRequest()).updates()
    if record.verdict != "Pass":
        raise RuntimeError(f"the first model came to nothing: {record.message}")
    return start


def _stream(log: ParquetEventLog, start: Start, interval: int, full_every: int = 0) -> Answers:
    """An update every ``interval`` events, and the answers of the champions in between."""
    answers, known = Answers(), _known()
    with tempfile.TemporaryDirectory(dir=start.folder.parent) as name:
        folder = Path(name) / "registry"
        shutil.copytree(start.folder, folder)
        registry = FolderRegistry(folder)
        settings = start.settings(interval, full_every)
        work = Loop(log, registry, settings, StopRequest())
        updates = work.updates()
        record = work.journal.champion
        while record is not None:
            begin = int(record.end["0"])
            window = Window({"0": str(begin)}, {"0": str(min(begin + interval, EVENTS))})
            _answer(answers, work, registry, read(log, window, settings.data.event_schema), known)
            begun = time.process_time()
            record = next(updates, None)
            if record is not None:
                answers.cpu.append(time.process_time() - begun)
    return answers


def _answer(
    answers: Answers, work: Loop, registry: FolderRegistry, entries: Iterator[Entry], known: tuple[set[int], set[int]]
) -> None:
    champion = work.journal.champion
    if champion is None or champion.candidate is None:
        raise RuntimeError("there is no champion")
    model = fetch_bundle(registry, MODEL, champion.candidate, Path()).load_model()
    events, scores = score(entries, RecentIds(), {MODEL: model}, ())
    answers.logits.append(scores[MODEL].logits)
    answers.labels.append(events.labels)
    answers.known_users.append(np.isin(events.users, list(known[0])))
    answers.known_items.append(np.isin(events.items, list(known[1])))


def _known() -> tuple[set[int], set[int]]:
    """Hashes of users and items before the stream."""
    rows = list(islice(movielens.events(), STREAM_FROM))
    return {id_hash(row["user"]) for row in rows}, {id_hash(row["item"]) for row in rows}


def _tell(what: str, answers: Answers) -> None:
    cost = statistics.mean(answers.cpu) if answers.cpu else 0.0
    print(f"{what}: AUC {answers.auc():.4f}, {len(answers.cpu)} updates of {cost:.3f} CPU seconds", file=sys.stderr)


def _curve(found: Runs) -> dict[str, float]:
    """Means over the seeds, and their standard deviation."""
    values: dict[str, float] = {}
    for (variant, interval), runs in found.items():
        name = f"{variant}, every {interval}" if interval else f"{variant}, never"
        aucs = [each.auc() for each in runs]
        values[f"AUC, {name}"] = statistics.mean(aucs)
        values[f"AUC, {name}, deviation"] = _deviation(aucs)
        values[f"AUC of known users, {name}"] = statistics.mean(each.auc(each.known_users) for each in runs)
        values[f"AUC of known items, {name}"] = statistics.mean(each.auc(each.known_items) for each in runs)
    return values


def _costs(found: Runs, retrained: dict[str, list[Answers]]) -> dict[str, float]:
    """CPU seconds of updates and full retrains, both without process start and imports."""
    values: dict[str, float] = {}
    for name, runs in retrained.items():
        values[f"AUC, {name}, full retrain every {RETRAIN_EVERY}"] = statistics.mean(each.auc() for each in runs)
        values[f"CPU seconds, {name}, full retrain"] = _seconds(runs)
    for (name, interval), runs in found.items():
        if interval:
            values[f"CPU seconds, {name}, update every {interval}"] = _seconds(runs)
            values[f"full retrain / update, {name}, every {interval}"] = _seconds(retrained[name]) / _seconds(runs)
    return values


def _seconds(runs: list[Answers]) -> float:
    return statistics.mean(seconds for each in runs for seconds in each.cpu)


def _start_seconds() -> float:
    """CPU seconds of a process that does nothing but import what a training needs."""
    before = os.times()
    subprocess.run([sys.executable, "-c", "import viridian_trainer.task"], check=True)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def _plot_curve(found: Runs) -> None:
    with _axes("staleness.png") as axes:
        for variant in CHOSEN:
            for name, known in SLICES.items():
                values = [[one.auc(known(one)) for one in found[variant, interval]] for interval in sorted(INTERVALS)]
                means, deviations = [statistics.mean(each) for each in values], [_deviation(each) for each in values]
                style = STYLES[name]
                axes.errorbar(sorted(INTERVALS), means, deviations, fmt=style, capsize=3, label=f"{variant}, {name}")
            never = statistics.mean(each.auc() for each in found[variant, NEVER])
            axes.axhline(never, color=axes.lines[-1].get_color(), linestyle="-.", lw=1, label=f"{variant}, never")
        axes.set(
            xscale="log", xlabel="events between two updates", ylabel="AUC over the stream", title="MovieLens-100k"
        )


def _plot_costs(found: Runs, retrained: dict[str, list[Answers]]) -> None:
    with _axes("staleness-cost.png") as axes:
        for variant in CHOSEN:
            runs = [found[variant, interval] for interval in sorted(INTERVALS)]
            aucs = [statistics.mean(one.auc() for one in each) for each in runs]
            axes.plot([_seconds(each) for each in runs], aucs, "o-", label=f"{variant}, updates")
            full = statistics.mean(one.auc() for one in retrained[variant])
            axes.plot([_seconds(retrained[variant])], [full], "s", label=f"{variant}, full retrain")
        title = "What an update costs and brings, MovieLens-100k"
        axes.set(xscale="log", xlabel="CPU seconds of one update", ylabel="AUC over the stream", title=title)


@contextmanager
def _axes(file: str) -> Iterator[Any]:
    """Axes with a legend, written to a file in the end."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 4.5))
    yield axes
    axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    FOLDER.mkdir(parents=True, exist_ok=True)
    figure.savefig(FOLDER / file, dpi=120, bbox_inches="tight")
    pyplot.close(figure)


def _deviation(values: list[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else 0.0
