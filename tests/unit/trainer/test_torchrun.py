"""The container's entry where several processes train: torchrun on one machine, as one pod and as two."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jobs import Job, reference
from worlds import CONFIG, FIELDS, parquet, rows

from viridian_model.bundle import read_bundle
from viridian_model.manifest import Manifest
from viridian_trainer.environment import VersionRef
from viridian_trainer.eventlog.parquet import ParquetEventLog
from viridian_trainer.registration import MlflowRegistry

#: A training in two pods is six processes, of which four import torch: a minute each on two busy cores.
pytestmark = [pytest.mark.thorough, pytest.mark.timeout(1800)]

WAIT = 400.0
SMALL = {**CONFIG, "batchSize": 32, "checkpointEvents": 320}


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    """Over a folder of events and one of MLflow's files, which need no server."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    parquet(tmp_path / "log", rows(0, 6000, duplicates=0.02))
    return Job(tmp_path, "", f"file:{tmp_path / 'mlruns'}", "ctr")


def environment(job: Job, number: int, **changes: Any) -> dict[str, str]:
    """A Full update over the log."""
    log = ParquetEventLog(job.folder / "log")
    window = {"from": dict(log.earliest()), "to": dict(log.heads())}
    data = {"source": {"parquet": {"path": str(job.folder / "log")}}, "schema": FIELDS}
    training = {"config": SMALL, "seed": 7}
    asked = {"VIRIDIAN_WINDOW": window, "VIRIDIAN_DATA": data, "VIRIDIAN_TRAINING": training, **changes}
    return job.environment("Train", number, "Full", **asked)


class Pod:
    """A process that was started as the container of a pod is."""

    def __init__(self, job: Job, name: str, env: dict[str, str]) -> None:
        self._words = job.folder / f"{name}.log"
        self._words.unlink(missing_ok=True)
        own = {"VIRIDIAN_TERMINATION_LOG": str(self._words), "GLOO_SOCKET_IFNAME": "lo"}
        command = [sys.executable, "-m", "viridian_trainer"]
        self.process = subprocess.Popen(command, env={**os.environ, **env, **own}, stderr=subprocess.DEVNULL)

    def end(self) -> tuple[int, dict[str, Any]]:
        """Exit code and last words."""
        try:
            return self.process.wait(WAIT), json.loads(self._words.read_text())
        finally:
            self.process.kill()


def pods(job: Job, env: dict[str, str]) -> list[Pod]:
    """Two pods of one process each, on a port of their own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    meeting = {"PET_NNODES": "2", "PET_NPROC_PER_NODE": "1", "PET_MASTER_ADDR": "127.0.0.1", "PET_MASTER_PORT": port}
    return [Pod(job, f"pod-{node}", {**env, **meeting, "PET_NODE_RANK": str(node)}) for node in (0, 1)]


def manifest(job: Job, result: dict[str, Any], where: str) -> Manifest:
    version = VersionRef(**reference(result))
    folder = job.folder / where
    return read_bundle(MlflowRegistry(job.mlflow_url).fetch(job.model, version, folder), version.digest).manifest


def ranks(above: int) -> list[int]:
    """Processes that train, of those that were started after the process ``above``."""
    found = subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 2) for line in found.splitlines()[1:]]
    children = {above}
    for pid, parent, _ in sorted(rows, key=lambda row: int(row[0])):
        if int(parent) in children:
            children.add(int(pid))
    children.remove(above)
    return [int(pid) for pid, _, args in rows if int(pid) in children and args.endswith("-m viridian_trainer")]


def wait_for(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def in_the_middle(job: Job) -> bool:
    """Whether a checkpoint was written after training began."""
    return any(not path.name.startswith("0" * 12) for path in (job.folder / "checkpoints").glob("*/*.safetensors"))


def test_two_processes_of_one_pod_train_on_the_events_of_one(job: Job) -> None:
    alone, together = environment(job, 1), environment(job, 2)
    code, one = Pod(job, "alone", alone).end()
    assert code == 0, one
    code, two = Pod(job, "together", {**together, "PET_NNODES": "1", "PET_NPROC_PER_NODE": "2"}).end()
    assert code == 0, two
    books = [manifest(job, result, where).model_extra or {} for result, where in ((one, "a"), (two, "b"))]
    assert books[0]["ledger"] == books[1]["ledger"]
    assert books[1]["inputs"]["ranks"] == 2
    assert abs(one["metrics"]["logloss"] - two["metrics"]["logloss"]) <= 1e-6


def test_two_pods_are_killed_stopped_and_end_with_the_same_bits(job: Job) -> None:
    undisturbed = [pod.end() for pod in pods(job, environment(job, 1))]
    assert [code for code, _ in undisturbed] == [0, 0]
    assert undisturbed[1][1] == {"task": "Train", "rank": 1}
    expected = manifest(job, undisturbed[0][1], "undisturbed")

    again = environment(job, 2)
    killed = pods(job, again)
    wait_for(lambda: in_the_middle(job))
    (victim,) = ranks(killed[1].process.pid)
    os.kill(victim, signal.SIGKILL)
    ends = [pod.end() for pod in killed]
    assert [(code, words["error"]["reason"]) for code, words in ends] == [(75, "PeerLost"), (137, "Killed")]

    stopped = pods(job, again)
    wait_for(lambda: all(ranks(pod.process.pid) for pod in stopped))
    stopped[1].process.send_signal(signal.SIGTERM)
    ends = [pod.end() for pod in stopped]
    assert ends[1][0] == 143
    assert ends[0][0] in (143, 75)  # 75: it was stopped before the training began

    (last, result), (other, _) = [pod.end() for pod in pods(job, again)]
    assert (last, other) == (0, 0), result
    found = manifest(job, result, "found")
    assert found.files == expected.files


@pytest.mark.parametrize(
    ("changes", "code", "reason"),
    [
        ({"VIRIDIAN_TRAINING": {"config": {"dimm": 8}, "seed": 1}}, 78, "BadConfig"),
        ({"VIRIDIAN_WINDOW": {"from": {"0": "0", "1": "0"}, "to": {"0": "90000", "1": "0"}}}, 65, "DataTrimmed"),
        ({"VIRIDIAN_UPDATE": {}}, 64, "BadUsage"),
    ],
)
def test_exit_codes_of_the_contract_survive_torchrun(job: Job, changes: dict[str, Any], code: int, reason: str) -> None:
    env = environment(job, 1, **changes) | {"PET_NNODES": "1", "PET_NPROC_PER_NODE": "2"}
    found, words = Pod(job, "failing", env).end()
    assert (found, words["error"]["reason"]) == (code, reason)


def test_pods_that_wait_for_others_stop_at_once(job: Job) -> None:
    waiting = pods(job, environment(job, 1))
    waiting[0].process.send_signal(signal.SIGTERM)
    waiting[1].process.send_signal(signal.SIGTERM)
    for pod in waiting:
        assert pod.process.wait(WAIT) in (143, -signal.SIGTERM)  # the latter: before it could answer a signal
