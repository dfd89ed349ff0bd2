"""What freshness is worth, and what it costs: MovieLens-100k through the local loop, an update every n events.

The first 5/7 of the ratings are the first model's, the rest is the stream. Each event of the stream is answered by
the version that was champion when it came; the AUC is pooled over the stream. The same with a full retrain ten times
over the stream shows what an update costs and what it brings. Nothing but the interval differs between the runs of a
seed.

Users rate in one sitting, and most users of the stream are new in it: only updates within the sitting know them. AUCs
of users and items that were known before the stream stand beside the others for that reason.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import batched, islice
from pathlib import Path

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
INTERVALS = tuple(int(n) for n in os.environ.get("INTERVALS", "16,80,320,800,1600").split(","))
SEEDS = tuple(int(n) for n in os.environ.get("SEEDS", "1,2,3").split(","))
RETRAIN_EVERY = (EVENTS - STREAM_FROM) // 10
MODEL = "movielens"
CONFIG = {"batchSize": 16, "learningRate": 0.05, "dim": 16, "hidden": [64, 32]}
#: every update becomes champion: what is measured is what freshness is worth, not the gate
OPEN_GATE = Gate(min_events=1, margin=1e6)
Floats = NDArray[np.float64]


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


def run() -> Result:
    """AUC of the shortest interval against that of never updating; the whole curve is in ``extra``."""
    fetch_movielens(Screen())
    found: dict[int, list[Answers]] = {each: [] for each in (NEVER, *sorted(INTERVALS, reverse=True))}
    retrained: list[Answers] = []
    with tempfile.TemporaryDirectory() as name:
        log = _log(Path(name) / "log")
        for seed in SEEDS:
            first = Path(name) / f"first-{seed}"
            _first(log, first, seed)
            for interval, runs in found.items():
                runs.append(_stream(log, first, seed, interval or EVENTS))
                _tell(f"seed {seed}, update every {interval or 'never'}", runs[-1])
            retrained.append(_stream(log, first, seed, RETRAIN_EVERY, full_every=1))
            _tell(f"seed {seed}, retrained fully every {RETRAIN_EVERY}", retrained[-1])
    _plot(found)
    fastest = min(INTERVALS)
    return Result(
        f"AUC with an update every {fastest} events",
        "AUC",
        [each.auc() for each in found[fastest]],
        "AUC without updates",
        [each.auc() for each in found[NEVER]],
        _curve(found) | _costs(found, retrained),
    )


def _log(folder: Path) -> ParquetEventLog:
    for rows in batched(movielens.events(), SEGMENT):
        write_segment(folder, "0", rows)
    return ParquetEventLog(folder)


def _settings(folder: Path, seed: int, interval: int, full_every: int = 0) -> LoopSettings:
    source = {"parquet": {"path": str(folder / "log")}}
    schema = {"categorical": movielens.FIELDS}
    return LoopSettings(
        model=MODEL,
        data=Data.model_validate({"source": source, "schema": schema, "holdout": {"fraction": 0.01}}),
        checkpoints=folder / "checkpoints",
        interval=interval,
        first=STREAM_FROM,
        full_every=full_every,
        config=CONFIG,
        gate=OPEN_GATE,
        seed=seed,
        evidence=False,
    )


def _first(log: ParquetEventLog, folder: Path, seed: int) -> None:
    """The model that all runs of a seed begin with."""
    work = Loop(log, FolderRegistry(folder), _settings(folder.parent, seed, EVENTS), StopRequest())
    (record,) = work.updates()
    if record.verdict != "Pass":
        raise RuntimeError(f"the first model came to nothing: {record.message}")


def _stream(log: ParquetEventLog, first: Path, seed: int, interval: int, full_every: int = 0) -> Answers:
    """An update every ``interval`` events, and the answers of the champions in between."""
    answers, known = Answers(), _known()
    with tempfile.TemporaryDirectory(dir=first.parent) as name:
        folder = Path(name) / "registry"
        shutil.copytree(first, folder)
        registry = FolderRegistry(folder)
        settings = _settings(first.parent, seed, interval, full_every)
        work = Loop(log, registry, settings, StopRequest())
        updates = work.updates()
        record = work.journal.champion
        while record is not None:
            start = int(record.end["0"])
            window = Window({"0": str(start)}, {"0": str(min(start + interval, EVENTS))})
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


def _curve(found: dict[int, list[Answers]]) -> dict[str, float]:
    """Means over the seeds, and their standard deviation."""
    values: dict[str, float] = {}
    for interval, runs in found.items():
        name = f"every {interval}" if interval else "never"
        aucs = [each.auc() for each in runs]
        values[f"AUC, {name}"] = statistics.mean(aucs)
        values[f"AUC, {name}, deviation"] = _deviation(aucs)
        values[f"AUC of known users, {name}"] = statistics.mean(each.auc(each.known_users) for each in runs)
        values[f"AUC of known items, {name}"] = statistics.mean(each.auc(each.known_items) for each in runs)
    return values


def _costs(found: dict[int, list[Answers]], retrained: list[Answers]) -> dict[str, float]:
    full = statistics.mean(seconds for each in retrained for seconds in each.cpu)
    values = {
        f"AUC, full retrain every {RETRAIN_EVERY}": statistics.mean(each.auc() for each in retrained),
        "CPU seconds of a full retrain": full,
    }
    for interval, runs in found.items():
        seconds = [each for one in runs for each in one.cpu]
        if seconds:
            values[f"CPU seconds of an update every {interval}"] = statistics.mean(seconds)
            values[f"full retrain / update every {interval}"] = full / statistics.mean(seconds)
    return values


def _plot(found: dict[int, list[Answers]]) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4))
    intervals = sorted(interval for interval in found if interval)
    for name in ("auc", "known users", "known items"):
        axes.errorbar(intervals, *_line(found, intervals, name), marker="o", capsize=3, label=name)
    axes.axhline(statistics.mean(each.auc() for each in found[NEVER]), color="grey", linestyle="--", label="never")
    axes.set(xscale="log", xlabel="events between two updates", ylabel="AUC over the stream", title="MovieLens-100k")
    axes.legend()
    FOLDER.mkdir(parents=True, exist_ok=True)
    figure.savefig(FOLDER / "staleness.png", dpi=120, bbox_inches="tight")


def _line(found: dict[int, list[Answers]], intervals: list[int], name: str) -> tuple[list[float], list[float]]:
    known = {"known users": "known_users", "known items": "known_items"}.get(name)
    values = [[one.auc(getattr(one, known) if known else None) for one in found[interval]] for interval in intervals]
    return [statistics.mean(each) for each in values], [_deviation(each) for each in values]


def _deviation(values: list[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else 0.0
