"""What drift as a trigger saves: a world that changes three times, updated on a schedule and on drift.

Every event after the first model's is answered by the champion of that moment and then scored, as the drift monitor
does. One policy updates every ``EVERY`` events; the other when the detector tells a rise, and otherwise every
``SELDOM`` events. What drift adds is its difference to every ``SELDOM`` events alone, which is the control.
``extra`` holds how soon each change was noticed, by how much it made the champion worse (a change that costs nothing
cannot be noticed by its loss), and the log loss over the stream of all policies and of never updating.
"""

from __future__ import annotations

import itertools
import os
import statistics
import sys
import tempfile
from dataclasses import dataclass, field, replace
from itertools import batched
from pathlib import Path

import numpy as np
from tests.benchmarks.result import Result

from viridian_trainer.download import fetch_bundle
from viridian_trainer.drift.detector import RiseDetector
from viridian_trainer.drift.monitor import log_loss
from viridian_trainer.eventlog import Window, read
from viridian_trainer.eventlog.dedup import RecentIds
from viridian_trainer.eventlog.parquet import ParquetEventLog, write_segment
from viridian_trainer.folder_registry import FolderRegistry
from viridian_trainer.gate.scoring import score
from viridian_trainer.loop import Loop, LoopSettings
from viridian_trainer.spec import Data, Gate
from viridian_trainer.stop import StopRequest
from viridian_trainer.synthetic import SyntheticConfig, World

EVENTS, FIRST, STEP = 24_000, 6_000, 100
CHANGES = (9_050, 14_050, 19_050)
EVERY, SELDOM = 1_000, 4_000
DELTA = 0.03
SEEDS = tuple(int(n) for n in os.environ.get("SEEDS", "1,2,3").split(","))
MODEL = "drift"


@dataclass
class Course:
    """One policy over one stream."""

    losses: list[float] = field(default_factory=list)
    updates: list[int] = field(default_factory=list)
    detections: list[int] = field(default_factory=list)

    @property
    def loss(self) -> float:
        """Mean log loss of the answers."""
        return statistics.mean(self.losses)


def run() -> Result:
    """Updates on drift against updates on schedule."""
    policies = {
        "schedule": (EVERY, False),
        "drift": (SELDOM, True),
        "seldom": (SELDOM, False),
        "never": (EVENTS, False),
    }
    found: dict[str, list[Course]] = {name: [] for name in policies}
    for seed in SEEDS:
        for name, (every, drift) in policies.items():
            course = _course(seed, every=every, drift=drift)
            found[name].append(course)
            print(f"seed {seed}, {name}: {len(course.updates)} updates, loss {course.loss:.4f}", file=sys.stderr)
    scheduled, drifting = found["schedule"], found["drift"]
    changes = [change for course in drifting for change in _changes(course)]
    delays = [delay for delay, _ in changes if delay is not None]
    return Result(
        f"updates on drift, or every {SELDOM} events",
        "updates",
        [float(len(course.updates)) for course in drifting],
        f"updates every {EVERY} events",
        [float(len(course.updates)) for course in scheduled],
        {
            "changes": float(len(changes)),
            "changes noticed": float(len(delays)),
            "changes noticed within 500 events": float(sum(delay <= 500 for delay in delays)),
            "worst delay, events": max(delays, default=float("nan")),
            "detections without a change": float(sum(len(c.detections) for c in drifting) - len(delays)),
            "rise of the loss at noticed changes": _mean([rise for delay, rise in changes if delay is not None]),
            "rise of the loss at other changes": _mean([rise for delay, rise in changes if delay is None]),
            "updates, control": statistics.mean(len(course.updates) for course in found["seldom"]),
            **{f"log loss, {name}": statistics.mean(each.loss for each in runs) for name, runs in found.items()},
        },
    )


def _mean(values: list[float]) -> float:
    return statistics.mean(values) if values else float("nan")


def _changes(course: Course) -> list[tuple[float | None, float]]:
    """Of each change: events until it was noticed, before the next one, and by how much it raised the mean loss of
    the 500 events after it.
    """
    return [
        (
            next((float(n - change) for n in course.detections if change <= n < end), None),
            statistics.mean(course.losses[change - FIRST :][:500])
            - statistics.mean(course.losses[change - FIRST - 500 : change - FIRST]),
        )
        for change, end in zip(CHANGES, (*CHANGES[1:], EVENTS), strict=True)
    ]


def _course(seed: int, *, every: int, drift: bool) -> Course:
    course, detector = Course(), RiseDetector(DELTA)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log, registry = changing_log(folder / "log", seed, EVENTS, CHANGES), FolderRegistry(folder / "registry")
        settings, tried = _settings(folder, seed), FIRST
        _update(log, registry, settings, FIRST)
        for begin in range(FIRST, EVENTS, STEP):
            fresh = _answered(log, registry, settings, begin)
            course.losses += fresh
            rises = [begin + number for number, loss in enumerate(fresh) if detector.add(loss)]
            course.detections += rises
            reached = begin + STEP
            if (drift and rises) or reached - tried >= every:
                _update(log, registry, settings, reached - tried)
                course.updates.append(reached)
                tried = reached
    return course


def changing_log(folder: Path, seed: int, count: int, changes: tuple[int, ...]) -> ParquetEventLog:
    """A log of ``count`` events of a world whose tastes and popularity change at the events ``changes``."""
    world = World(SyntheticConfig(seed=seed, change_points=changes))
    for rows in batched(world.events(0, count), STEP):
        write_segment(folder, "0", [impression.row for impression in rows])
    return ParquetEventLog(folder)


def _settings(folder: Path, seed: int) -> LoopSettings:
    source, schema = {"parquet": {"path": str(folder / "log")}}, {"categorical": ["user", "item", "hour"]}
    return LoopSettings(
        model=MODEL,
        data=Data.model_validate({"source": source, "schema": schema, "holdout": {"fraction": 0.05}}),
        checkpoints=folder / "checkpoints",
        interval=EVENTS,
        first=FIRST,
        config={"batchSize": 32, "learningRate": 0.05},
        gate=Gate(min_events=1, margin=1e6),  # what is compared is when to update, not the gate
        seed=seed,
        evidence=False,
    )


def _update(log: ParquetEventLog, registry: FolderRegistry, settings: LoopSettings, count: int) -> None:
    """One update with ``count`` entries more than the last one tried."""
    updates = Loop(log, registry, replace(settings, interval=count), StopRequest()).updates()
    (record,) = itertools.islice(updates, 1)
    updates.close()
    if record.verdict != "Pass":
        raise RuntimeError(f"an update came to nothing: {record.message}")


def _answered(log: ParquetEventLog, registry: FolderRegistry, settings: LoopSettings, begin: int) -> list[float]:
    """Losses of the champion on the events from ``begin`` on."""
    champion = Loop(log, registry, settings, StopRequest()).journal.champion
    if champion is None or champion.candidate is None:
        raise RuntimeError("there is no champion")
    model = fetch_bundle(registry, MODEL, champion.candidate, Path()).load_model()
    window = Window({"0": str(begin)}, {"0": str(begin + STEP)})
    events, scores = score(read(log, window, settings.data.event_schema), RecentIds(), {MODEL: model}, ())
    probabilities = 1 / (1 + np.exp(-scores[MODEL].logits))
    return [log_loss(float(p), int(label)) for p, label in zip(probabilities, events.labels, strict=True)]
