"""A loop that is killed over and over with SIGKILL, beside one that is left in peace.

Half of the kills come at a random moment, half right before a random file operation, see
``tests/unit/trainer/killing.py``. What must be true in the end is checked by ``loops.survive``; a benchmark that ends
has found it true. ``KILLS=…`` sets how many.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from tests.benchmarks.result import Result

TRAINER_TESTS = Path(__file__).parents[1] / "unit" / "trainer"
KILLS = int(os.environ.get("KILLS", "1000"))


def run() -> Result:
    """Seconds of the killed loop, beside those of the other; the stages that the kills fell into are in ``extra``."""
    sys.path.insert(0, str(TRAINER_TESTS))
    from loops import survive

    with tempfile.TemporaryDirectory() as folder:
        found = survive(Path(folder), "Holdout", KILLS)
    counts = {"kills": found["killing"]["killed"], "updates": found["updates"], "events": found["events"]}
    stages = {f"kills, {stage}": number for stage, number in found["killing"]["stages"].items()}
    seconds, peace = found["killing"]["seconds"], found["peace"]["seconds"]
    return Result(f"the loop through {KILLS} kills", "s", [seconds], "the loop in peace", [peace], counts | stages)
