"""Trainings repeat bit for bit, go on from parents and checkpoints, and use every event once."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from worlds import CONFIG, FIELDS, data, following, parquet, rows, train_in, training

from viridian_trainer.errors import BadConfig, BadData, Stopped
from viridian_trainer.eventlog import Window
from viridian_trainer.folder_registry import FolderRegistry
from viridian_trainer.stop import StopRequest
from viridian_trainer.training.checkpoint import CheckpointStore
from viridian_trainer.training.popularity import ItemCounts
from viridian_trainer.training_task import train_task

EVENTS = 20_000
WAIT = 240.0


def command(folder: Path, name: str) -> list[str]:
    """A training of its own process over the log in ``folder``."""
    return [
        *(sys.executable, "-m", "viridian_trainer", "train", "--model", "ctr", "--parquet", str(folder / "log")),
        *("--registry", str(folder / name), "--checkpoints", str(folder / f"{name}-checkpoints")),
        *("--config", json.dumps({**CONFIG, "batchSize": 64, "checkpointEvents": 1500})),
        *("--data", json.dumps({"schema": FIELDS})),
    ]


def finish(folder: Path, name: str) -> str:
    """Run a training to its end; gives the digest of its version."""
    subprocess.run(command(folder, name), check=True, timeout=WAIT, capture_output=True)
    registered = FolderRegistry(folder / name).newest("ctr")
    assert registered is not None
    return registered.tags["viridian.digest"]


def interrupt(folder: Path, name: str, number: signal.Signals) -> int:
    """Run a training, send it a signal after its next checkpoint, and give its exit code."""
    seen = set(checkpoints(folder, name))
    with subprocess.Popen(command(folder, name), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        wait_for(lambda: bool(set(checkpoints(folder, name)) - seen) or process.poll() is not None)
        process.send_signal(number)
        return process.wait(WAIT)


def checkpoints(folder: Path, name: str) -> list[Path]:
    return list((folder / f"{name}-checkpoints").glob("*/*.safetensors"))


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_killed_and_stopped_processes_end_with_the_same_bits(tmp_path: Path) -> None:
    parquet(tmp_path / "log", rows(0, EVENTS, duplicates=0.01, late=0.01))
    undisturbed = finish(tmp_path, "undisturbed")
    assert interrupt(tmp_path, "disturbed", signal.SIGKILL) == -signal.SIGKILL
    assert interrupt(tmp_path, "disturbed", signal.SIGTERM) == 143
    assert FolderRegistry(tmp_path / "disturbed").newest("ctr") is None
    saved = checkpoints(tmp_path, "disturbed")
    assert len(saved) == 1
    assert finish(tmp_path, "disturbed") == undisturbed
    assert checkpoints(tmp_path, "disturbed") == []


def stopping(task: Any, log: Any, folder: Path, after: int) -> None:
    """Train until ``after`` events, then stop."""
    stop = StopRequest()
    with pytest.raises(Stopped):
        train_task(task, log, FolderRegistry(folder), stop, lambda done, _: stop.request() if done >= after else None)


def test_incremental_training_resumes_with_its_replayed_events(tmp_path: Path) -> None:
    log = parquet(tmp_path / "log", rows(0, 4000))
    task = training(log, tmp_path / "log", data=data(tmp_path / "log", replay={"ratio": 1.0}))
    task = replace(task, config={**CONFIG, "dropout": 0.1})
    first, _ = train_in(tmp_path / "a", task, log)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    parquet(tmp_path / "log", rows(4000, 3000))
    second = following(task, first, log)
    whole, bundle = train_in(tmp_path / "a", second, log)
    replay = bundle.manifest.model_extra["replay"]  # type: ignore[index]
    assert replay["events"] == replay["wanted"] == bundle.manifest.events["trained"]
    assert bundle.manifest.events["replayed"] == bundle.manifest.events["trained"]
    assert (replay["from"], replay["to"]) == (dict(task.window.start), first["trainedTo"])
    stopping(second, log, tmp_path / "b", 1000)
    resumed, _ = train_in(tmp_path / "b", second, log)
    assert resumed["digest"] == whole["digest"]


@pytest.mark.parametrize(("allowed", "late"), [(None, 1), ("1m29s", 1), ("2m", 0)])
def test_events_later_than_allowed_are_counted_and_trained(tmp_path: Path, allowed: str | None, late: int) -> None:
    events = rows(0, 2000)
    events[1000]["ts"] = max(event["ts"] for event in events[:1000]) - 90
    log = parquet(tmp_path / "log", events, partitions=1)
    task = training(
        log, tmp_path / "log", data=data(tmp_path / "log", **({"allowedLateness": allowed} if allowed else {}))
    )
    outcome, _ = train_in(tmp_path / "registry", task, log)
    assert outcome["events"]["late"] == late
    assert outcome["events"]["trained"] + outcome["events"]["holdout"] == 2000


def test_a_model_may_draw_from_any_generator(tmp_path: Path) -> None:
    log = parquet(tmp_path / "log", rows(0, 2000))
    task = replace(training(log, tmp_path / "log"), config={**CONFIG, "architecture": "noisy:Noisy"})
    whole, _ = train_in(tmp_path / "a", task, log)
    stopping(task, log, tmp_path / "b", 1000)
    assert train_in(tmp_path / "b", task, log)[0]["digest"] == whole["digest"]


def test_a_damaged_checkpoint_is_passed_over(tmp_path: Path) -> None:
    log = parquet(tmp_path / "log", rows(0, 3000))
    task = training(log, tmp_path / "log")
    whole, _ = train_in(tmp_path / "a", task, log)
    stopping(task, log, tmp_path / "b", 1000)
    (path,) = task.checkpoint_dir.glob("*/*.safetensors")
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)
    assert train_in(tmp_path / "b", task, log)[0]["digest"] == whole["digest"]


def test_checkpoints_of_other_inputs_are_not_used(tmp_path: Path) -> None:
    log = parquet(tmp_path / "log", rows(0, 3000))
    task = training(log, tmp_path / "log")
    stopping(task, log, tmp_path / "b", 1000)
    other = replace(task, seed=8)
    whole, _ = train_in(tmp_path / "a", replace(other, checkpoint_dir=tmp_path / "elsewhere"), log)
    assert train_in(tmp_path / "b", other, log)[0]["digest"] == whole["digest"]


def test_every_event_is_trained_once_per_lineage(tmp_path: Path) -> None:
    events = rows(0, 6000)
    log = parquet(tmp_path / "log", [*events[:3000], *events[100:110]])
    task = training(log, tmp_path / "log")
    first, _ = train_in(tmp_path / "r", task, log)
    parquet(tmp_path / "log", [*events[2500:2520], *events[3000:]])
    second, bundle = train_in(tmp_path / "r", following(task, first, log), log)
    held_out = Window.parse(second["holdout"]).total
    trained = first["events"]["trained"] + second["events"]["trained"]
    duplicates = first["events"]["duplicates"] + second["events"]["duplicates"]
    assert duplicates == 30
    assert trained + duplicates + held_out == 6030
    assert second["holdout"]["from"] == second["trainedTo"]
    assert bundle.manifest.lineage == "uid/1"
    counts = ItemCounts.load(bundle.optimizer())
    assert sum(n for n, _ in counts._counts.values()) == trained


def test_a_warm_start_carries_optimizer_state_and_beats_a_cold_one(tmp_path: Path) -> None:
    log = parquet(tmp_path / "log", rows(0, 8000))
    task = training(log, tmp_path / "log")
    first, parent = train_in(tmp_path / "r", task, log)
    parquet(tmp_path / "log", rows(8000, 3000))
    second = following(task, first, log)
    warm, child = train_in(tmp_path / "r", second, log)
    cold = replace(second, update=replace(second.update, number=9, kind="Full"))
    assert warm["metrics"]["logloss"] < train_in(tmp_path / "r", cold, log)[0]["metrics"]["logloss"]
    before, after = parent.optimizer(), child.optimizer()
    table = "adagrad/tables.field_user.weight/sum"
    assert len(after[table]) > len(before[table])
    assert torch.all(after[table][: len(before[table])] >= before[table])
    assert child.manifest.parent is not None
    assert child.manifest.parent.digest == first["digest"]


def test_bad_inputs_fail_with_their_reason(tmp_path: Path) -> None:
    events = rows(0, 1000)
    log = parquet(tmp_path / "log", [*events, *({**event, "label": 5} for event in events[:20])])
    task = training(log, tmp_path / "log")
    with pytest.raises(BadData, match=r"20 of 1020 entries are unreadable"):
        train_in(tmp_path / "r", task, log)
    tolerant = replace(task, data=data(tmp_path / "log", maxRejected=0.05))
    outcome, parent = train_in(tmp_path / "r", tolerant, log)
    assert outcome["events"]["rejected"] + outcome["events"]["trained"] + outcome["events"]["holdout"] == 1020
    with pytest.raises(BadConfig, match="learningrate"):
        train_in(tmp_path / "r2", replace(task, config={"learningrate": 1}), log)
    changed = replace(following(tolerant, outcome, log), config={**CONFIG, "dim": 4})
    with pytest.raises(BadConfig, match="Full"):
        train_in(tmp_path / "r", changed, log)
    assert parent.manifest.kind == "Full"
    repeated = replace(following(tolerant, outcome, log), window=Window(task.window.start, outcome["trainedTo"]))
    with pytest.raises(BadData, match="seen before"):
        train_in(tmp_path / "r", repeated, log)


def test_an_unusable_checkpoint_directory_is_a_configuration_error(tmp_path: Path) -> None:
    log = parquet(tmp_path / "log", rows(0, 500))
    (tmp_path / "file").write_text("")
    with pytest.raises(BadConfig, match="VIRIDIAN_CHECKPOINT_DIR"):
        train_in(tmp_path / "r", replace(training(log, tmp_path / "log"), checkpoint_dir=tmp_path / "file/x"), log)


def test_checkpoints_of_earlier_updates_are_removed(tmp_path: Path) -> None:
    log = parquet(tmp_path / "log", rows(0, 500))
    update = training(log, tmp_path / "log").update
    for number in (1, 2):
        store = CheckpointStore(tmp_path / "c", replace(update, number=number), {})
        store.open()
        store.save(number, {"x": torch.zeros(1)}, {})
    assert [path.name.split(".")[1] for path in (tmp_path / "c").iterdir()] == ["2"]
