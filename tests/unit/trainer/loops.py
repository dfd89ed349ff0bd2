"""A loop over a folder with intervals of a few events, killed again and again, and what must be true in the end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from witness import uses
from worlds import CONFIG, FIELDS, parquet, rows

from viridian_model.bundle import read_bundle
from viridian_model.ids import id_hash
from viridian_trainer.eventlog import count_before
from viridian_trainer.eventlog.parquet import ParquetEventLog
from viridian_trainer.folder_registry import FolderRegistry
from viridian_trainer.lineage import check_ledger, lineage
from viridian_trainer.loop import Journal, UpdateRecord

INTERVAL, FIRST = 16, 600
#: Generous ones, by split: two events tell little, and this is no test of the gate.
MARGINS = {"Holdout": 0.3, "Prequential": 1.0}
#: Faults of the events: duplicates are left out, late ones used like any other.
FAULTS = {"duplicates": 0.02, "late": 0.02}


def patience(kills: int) -> float:
    """Seconds in which a loop must have come to its end through so many kills."""
    return 600.0 + 10 * kills


def arguments(folder: Path, name: str, split: str = "Holdout") -> list[str]:
    """A loop over the log in ``folder`` with intervals of 16 events and the witness of every training."""
    config = {**CONFIG, "batchSize": 8, "checkpointEvents": 8, "architecture": "witness:Witness", "dim": 4}
    schema = {"categorical": [*FIELDS["categorical"], "id"]}
    return [
        *("loop", "--model", "ctr", "--parquet", str(folder / "log"), "--registry", str(folder / name)),
        *("--checkpoints", str(folder / f"{name}-checkpoints"), "--interval", str(INTERVAL), "--first", str(FIRST)),
        *("--config", json.dumps(config), "--data", json.dumps({"schema": schema, "holdout": {"fraction": 0.25}})),
        *("--gate", json.dumps({"margin": MARGINS[split], "minEvents": 1, "split": split}), "--no-evidence"),
    ]


def loop(folder: Path, name: str, kills: int, split: str) -> dict[str, Any]:
    """Run the loop to its end through so many kills; gives what ``killing.py`` tells, and the wall seconds."""
    command = [sys.executable, str(Path(__file__).with_name("killing.py")), "3", str(kills)]
    command += arguments(folder, name, split)
    scratch = folder / "scratch"
    scratch.mkdir(exist_ok=True)
    env = {**os.environ, "TMPDIR": str(scratch), "OMP_NUM_THREADS": "1"}
    begun = time.monotonic()
    done = subprocess.run(command, env=env, capture_output=True, timeout=patience(kills), text=True)
    assert done.returncode == 0, done.stderr
    outcome: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert outcome["code"] == 0, done.stderr
    return {**outcome, "seconds": time.monotonic() - begun}


def champion(folder: Path, name: str) -> UpdateRecord:
    found = Journal(FolderRegistry(folder / name).journal("ctr")).champion
    assert found is not None
    return found


def survive(folder: Path, split: str, kills: int) -> dict[str, Any]:
    """Kill a loop so many times, run another in peace, and check that nothing tells one from the other.

    The newest versions must be the same bit for bit, and every event of the log must be trained on exactly once:
    by the offsets and the ledger against the log, and by what each event has left in the weights.
    """
    parquet(folder / "log", rows(0, FIRST + 50, **FAULTS))
    loop(folder, "disturbed", 0, split)  # the kills shall not all fall into the first model, which takes longest
    log = parquet(folder / "log", rows(FIRST + 50, INTERVAL * max(kills, 20), **FAULTS))
    peace = loop(folder, "undisturbed", 0, split)
    killing = loop(folder, "disturbed", kills, split)
    assert killing["killed"] == kills
    found = champion(folder, "disturbed")
    assert found == champion(folder, "undisturbed")
    assert found.number > 10
    return {"killing": killing, "peace": peace, "updates": found.number, "events": _used_once(folder, log, found)}


def _used_once(folder: Path, log: ParquetEventLog, newest: UpdateRecord) -> int:
    """Number of events that the lineage of ``newest`` was trained on, each of them once."""
    assert newest.candidate is not None
    links = lineage(FolderRegistry(folder / "disturbed"), "ctr", newest.candidate)
    ledger = check_ledger(log, links)
    assert ledger.problems == []
    assert ledger.entries == sum(count_before(offset) for offset in newest.trained_to.values())

    bundle = read_bundle(folder / "disturbed/ctr" / newest.candidate.version / "bundle", newest.candidate.digest)
    counted = uses(bundle.weights(), bundle.optimizer())
    consumed = [
        record.payload["id"]  # type: ignore[index]
        for partition, offset in newest.trained_to.items()
        for record in log.records(partition, "0", offset)
    ]
    assert counted == {id_hash(identity): 1.0 for identity in consumed}
    assert ledger.events == len(counted) < len(consumed) == ledger.entries
    return ledger.events
