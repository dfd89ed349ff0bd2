"""How often the gate is wrong, over simulated candidates (`candidates`), and how long a verdict takes.

The intervals behind the verdicts are checked for their coverage: how often they hold the true difference. Every rate
is told with the number of events and users, and inconclusive verdicts are counted apart. ``CANDIDATES=…`` sets how
many are simulated of each kind.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from tests.benchmarks import candidates
from tests.benchmarks.candidates import Damage, verdict, worse_by
from tests.benchmarks.result import Result

from viridian_model.bundle import Bundle, read_bundle
from viridian_trainer.environment import TrainInput, Update, VersionRef
from viridian_trainer.eventlog import Window, read
from viridian_trainer.eventlog.dedup import RecentIds
from viridian_trainer.eventlog.parquet import ParquetEventLog
from viridian_trainer.folder_registry import FolderRegistry
from viridian_trainer.gate.evaluate import CANDIDATE, CHAMPION, Judged, evaluate
from viridian_trainer.gate.scoring import score
from viridian_trainer.publish import to_parquet
from viridian_trainer.spec import Data, Gate
from viridian_trainer.stop import StopRequest
from viridian_trainer.synthetic import SyntheticConfig, World
from viridian_trainer.training_task import train_task

NUMBER = int(os.environ.get("CANDIDATES", "1000"))
#: What the rates of equal and of worse candidates are stated for, and those of poison.
EVENTS, USERS, MARGIN = 5000, 750, 0.02
POISON_EVENTS, POISON_USERS = 500, 300
#: More numbers of events and users that the coverage of intervals is measured for.
SMALLER = ((1500, 250), (500, 100))
OUTCOMES = ("Pass", "Reject", "Inconclusive")
TRAINED, TIMED = 4000, 20


def run() -> Result:
    """Seconds of a verdict, beside those in which both models answer its events; all rates are in ``extra``."""
    found: dict[str, float] = {"events": EVENTS, "users": USERS, "margin": MARGIN}
    twins = _judged(EVENTS, USERS, candidates.twin)
    found |= _rates("equal twin", twins) | {f"coverage, {EVENTS} events of {USERS} users": _coverage(twins)}
    found |= _any_margin(twins)
    found |= _rates("worse by two margins", _judged(EVENTS, USERS, worse_by(2 * MARGIN, USERS)))
    for poison in candidates.POISONS:
        name = f"poison {poison.__name__}, {POISON_EVENTS} events"
        found |= _rates(name, _judged(POISON_EVENTS, POISON_USERS, poison))
    for events, users in SMALLER:
        twins = _judged(events, users, candidates.twin)
        found[f"coverage, {events} events of {users} users"] = _coverage(twins)
    verdicts, answers = _seconds()
    return Result(f"a verdict on {EVENTS} events", "CPU s", verdicts, "both models answer them", answers, found)


def _judged(events: int, users: int, damage: Damage) -> list[Judged]:
    gate = Gate(margin=MARGIN, min_events=events)
    return [verdict(seed, events, users, gate, damage) for seed in range(NUMBER)]


def _rates(name: str, judged: list[Judged]) -> dict[str, float]:
    """Fractions of the verdicts."""
    outcomes = Counter(str(each.verdict.outcome) for each in judged)
    print(f"{name}: {dict(outcomes)}", file=sys.stderr)
    return {f"{name}, {outcome}": outcomes[outcome] / len(judged) for outcome in OUTCOMES}


def _coverage(twins: list[Judged]) -> float:
    """How often the interval holds the true difference of twins, which is nothing."""
    differences = [each.deciding.difference for each in twins]
    return sum(each.low <= 0 <= each.high for each in differences) / len(differences)


def _any_margin(twins: list[Judged]) -> dict[str, float]:
    """The margin at which four of five twins still pass, and how many are surely worse, whatever the margin."""
    differences = [each.deciding.difference for each in twins]
    worse = sum(each.high < 0 for each in differences) / len(differences)
    margin = float(np.quantile([-each.low for each in differences], 0.8))
    return {"equal twin, smallest margin for 80 % Pass": margin, "equal twin, interval below 0": worse}


def _seconds() -> tuple[list[float], list[float]]:
    """CPU seconds of whole verdicts on real bundles and an event log, and of the answers alone."""
    with tempfile.TemporaryDirectory() as name:
        log = _log(Path(name) / "log")
        task = _task(log, Path(name))
        bundles = [_train(replace(task, seed=seed), log, Path(name) / str(seed)) for seed in (1, 2)]
        window, schema = Window({"0": str(TRAINED)}, log.heads()), task.data.event_schema
        gate = Gate(margin=MARGIN, min_events=EVENTS)

        def judge() -> None:
            evaluate(log, window, schema, gate, bundles[0], bundles[1], None)

        def answer() -> None:
            models = {CANDIDATE: bundles[0].load_model(), CHAMPION: bundles[1].load_model()}
            score(read(log, window, schema), RecentIds(), models, ())

        judge()  # imports the library of metrics
        return [_timed(judge) for _ in range(TIMED)], [_timed(answer) for _ in range(TIMED)]


def _timed(work: Callable[[], None]) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun


def _log(folder: Path) -> ParquetEventLog:
    rows = (each.row for each in World(SyntheticConfig(users=USERS)).events(0, TRAINED + EVENTS))
    to_parquet(folder, 1, rows, lambda _: None)
    return ParquetEventLog(folder)


def _task(log: ParquetEventLog, folder: Path) -> TrainInput:
    """Train on what comes before the events that judge."""
    fields = {"categorical": ["user", "item", "hour"]}
    return TrainInput(
        update=Update("gate", "benchmark", "gate", 1, 1, "Full"),
        model_name="gate",
        data=Data.model_validate({"source": {"parquet": {"path": str(folder)}}, "schema": fields}),
        parent=None,
        window=Window(log.earliest(), {"0": str(TRAINED)}),
        fresh=dict(log.earliest()),
        config={},
        seed=1,
        checkpoint_dir=folder / "checkpoints",
    )


def _train(task: TrainInput, log: ParquetEventLog, folder: Path) -> Bundle:
    outcome = train_task(task, log, FolderRegistry(folder), StopRequest())
    version = VersionRef(outcome["version"], outcome["digest"])
    return read_bundle(folder / "gate" / version.version / "bundle", version.digest)
