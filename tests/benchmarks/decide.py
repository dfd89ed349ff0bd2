"""Cost of one decision of an idle ModelUpdate, against that of reading its status from JSON."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.benchmarks.result import Result

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "operator" / "decide"))

ROUNDS = 300


def run() -> Result:
    """Measure both in turns, so that noise hits them alike."""
    from simulation import World

    from viridian_operator.api.status import ModelUpdateStatus
    from viridian_operator.decide.step import decide

    world = World()
    world.settle()
    seen, wire = world.observe(), world.status.wire()
    ours, baseline = [], []
    for _ in range(ROUNDS):
        ours.append(_milliseconds(lambda: decide(world.spec, world.status, seen, world.now)))
        baseline.append(_milliseconds(lambda: ModelUpdateStatus.model_validate(wire)))
    return Result("one decision, idle", "ms", ours, "reading the status", baseline)


def _milliseconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return (time.perf_counter() - begun) * 1000
