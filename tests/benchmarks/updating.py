"""What freshness is worth and costs: a stream through the local loop, with an update every n events.

Each event of the stream is answered by the version that was champion when it came. Every update becomes champion: what
is measured is what freshness is worth, not the gate.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tests.benchmarks.result import FOLDER

from viridian_trainer.download import fetch_bundle
from viridian_trainer.eventlog import Entry, Window, read
from viridian_trainer.eventlog.dedup import RecentIds
from viridian_trainer.eventlog.parquet import ParquetEventLog
from viridian_trainer.folder_registry import FolderRegistry
from viridian_trainer.gate.metrics import metrics_of
from viridian_trainer.gate.scoring import score
from viridian_trainer.loop import Loop, LoopSettings
from viridian_trainer.loop.journal import UpdateRecord
from viridian_trainer.spec import Data, Gate
from viridian_trainer.stop import StopRequest

#: what it says does not count, what it costs does
GATE = Gate(min_events=1, margin=1e6)
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


class Ungated(Loop):
    """Every candidate becomes champion, also one whose few held-out events belong to one user, which proves nothing."""

    def judge(self, record: UpdateRecord, outcome: dict[str, Any]) -> dict[str, Any]:
        """See ``Loop``."""
        return super().judge(record, outcome) | {"verdict": "Pass"}


@dataclass
class Answers:
    """Logits and labels ``[n]`` of the stream so far, and the CPU seconds of each update."""

    logits: list[Floats] = field(default_factory=list)
    labels: list[Floats] = field(default_factory=list)
    known_users: list[Flags] = field(default_factory=list)
    known_items: list[Flags] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def auc(self, known: list[Flags] | None = None) -> float:
        """Of all answers, or of those with what is ``known``."""
        return self.metric("auroc", known)

    def metric(self, name: str, known: list[Flags] | None = None) -> float:
        """``auroc`` or ``logloss``."""
        logits, labels = np.concatenate(self.logits), np.concatenate(self.labels)
        chosen = np.concatenate(known) if known else np.ones(len(labels), dtype=np.bool_)
        return metrics_of(logits[chosen], labels[chosen])[name]


@dataclass(frozen=True)
class Start:
    """The first model that all runs of a seed begin with, in the registry ``folder``.

    The stream is the events from ``first`` to ``end``; ``known`` are hashes of users and items before it.
    """

    folder: Path
    log: ParquetEventLog
    data: Mapping[str, Any]
    config: Mapping[str, Any]
    model: str
    first: int
    end: int
    seed: int
    known: tuple[frozenset[int], frozenset[int]] = (frozenset(), frozenset())

    def settings(self, interval: int, full_every: int = 0) -> LoopSettings:
        """Of a loop that begins here."""
        return LoopSettings(
            model=self.model,
            data=Data.model_validate(self.data),
            checkpoints=self.folder.parent / "checkpoints",
            interval=interval,
            first=self.first,
            full_every=full_every,
            config=dict(self.config),
            gate=GATE,
            seed=self.seed,
            evidence=False,
        )

    def train(self) -> Start:
        """Train the first model."""
        (record,) = Ungated(self.log, FolderRegistry(self.folder), self.settings(self.end), StopRequest()).updates()
        if record.verdict != "Pass":
            raise RuntimeError(f"the first model came to nothing: {record.message}")
        return self

    def stream(self, interval: int, full_every: int = 0) -> Answers:
        """An update every ``interval`` events, and the answers of the champions in between."""
        answers = Answers()
        with tempfile.TemporaryDirectory(dir=self.folder.parent) as name:
            registry = FolderRegistry(Path(shutil.copytree(self.folder, Path(name) / "registry")))
            settings = self.settings(interval, full_every)
            work = Ungated(self.log, registry, settings, StopRequest())
            updates = work.updates()
            record = work.journal.champion
            while record is not None:
                begin = int(record.end["0"])
                window = Window({"0": str(begin)}, {"0": str(min(begin + interval, self.end))})
                self._answer(answers, work, registry, read(self.log, window, settings.data.event_schema))
                begun = time.process_time()
                record = next(updates, None)
                if record is not None:
                    if record.verdict != "Pass":
                        raise RuntimeError(f"update {record.number} came to nothing: {record.message}")
                    answers.cpu.append(time.process_time() - begun)
        return answers

    def _answer(self, answers: Answers, work: Loop, registry: FolderRegistry, entries: Iterator[Entry]) -> None:
        champion = work.journal.champion
        if champion is None or champion.candidate is None:
            raise RuntimeError("there is no champion")
        model = fetch_bundle(registry, self.model, champion.candidate, Path()).load_model()
        events, scores = score(entries, RecentIds(), {self.model: model}, ())
        answers.logits.append(scores[self.model].logits)
        answers.labels.append(events.labels)
        answers.known_users.append(np.isin(events.users, list(self.known[0])))
        answers.known_items.append(np.isin(events.items, list(self.known[1])))


def tell(what: str, answers: Answers) -> None:
    """One line about a run that has ended."""
    cost = statistics.mean(answers.cpu) if answers.cpu else 0.0
    print(f"{what}: AUC {answers.auc():.4f}, {len(answers.cpu)} updates of {cost:.3f} CPU seconds", file=sys.stderr)


def seconds_of(runs: Sequence[Answers]) -> float:
    """CPU seconds of one update, without process start and imports."""
    return statistics.mean(seconds for each in runs for seconds in each.cpu)


def deviation(values: Sequence[float]) -> float:
    """Standard deviation; 0 of a single value."""
    return statistics.stdev(values) if len(values) > 1 else 0.0


@dataclass(frozen=True)
class Line:
    """A curve: values of all seeds by interval, and their mean without updates where that is shown."""

    label: str
    values: Mapping[int, Sequence[float]]
    style: str = "o-"
    never: float | None = None


def plot_staleness(file: str, title: str, ylabel: str, lines: Sequence[Line]) -> None:
    """What is lost by updating seldom."""
    with _axes(file) as axes:
        for line in lines:
            intervals = sorted(line.values)
            means = [statistics.mean(line.values[each]) for each in intervals]
            deviations = [deviation(line.values[each]) for each in intervals]
            axes.errorbar(intervals, means, deviations, fmt=line.style, capsize=3, label=line.label)
            if line.never is not None:
                color = axes.lines[-1].get_color()
                axes.axhline(line.never, color=color, linestyle="-.", lw=1, label=f"{line.label}, never")
        axes.set(xscale="log", xlabel="events between two updates", ylabel=ylabel, title=title)


def plot_costs(file: str, title: str, points: Mapping[str, tuple[str, Sequence[Sequence[Answers]]]]) -> None:
    """What an update costs and brings: by label a style, and the runs of each point."""
    with _axes(file) as axes:
        for label, (style, runs) in points.items():
            aucs = [statistics.mean(one.auc() for one in each) for each in runs]
            axes.plot([seconds_of(each) for each in runs], aucs, style, label=label)
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
