"""``python forked_ranks.py FOLDER``: trainings over the log in a folder, each rank a process that is forked from here.

torch and all that is imported late is loaded once, so that a rank starts in milliseconds. Every line of standard input
asks for a training (see `Wanted`) and is answered with one line of JSON: how each rank ended (exit code, or minus the
signal), and seconds from the first end to the last.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from worlds import data, following, parquet, rows, train_in, training

from viridian_trainer import registry as tags
from viridian_trainer.environment import TrainInput
from viridian_trainer.errors import TaskError
from viridian_trainer.eventlog import Window
from viridian_trainer.eventlog.parquet import ParquetEventLog
from viridian_trainer.folder_registry import FolderRegistry
from viridian_trainer.gang.ranks import gathered
from viridian_trainer.spec import SplitKind
from viridian_trainer.stop import StopRequest
from viridian_trainer.training import checkpoint
from viridian_trainer.training.learner import Learner
from viridian_trainer.training_task import follow_task, train_task

LIMIT = 400  # seconds after which a rank that hangs ends itself; one that waits for others says so before


@dataclass(frozen=True)
class Wanted:
    """A training into the registry ``name``, from its newest version if there is one, up to the offsets ``to``.

    ``signal`` is sent to rank ``victim`` by itself before its step number ``step``, or from outside ``seconds`` after
    its first step.
    ``apart`` gives every rank a checkpoint directory of its own.
    """

    name: str
    to: dict[str, str]
    ranks: int = 1
    split: SplitKind = "Holdout"
    config: dict[str, Any] = field(default_factory=dict)
    signal: int = 0
    victim: int = 0
    step: int = 0
    seconds: float = 0.0
    apart: bool = False


def main() -> None:
    """Answer line by line."""
    torch.set_num_threads(1)
    warm_up()
    for line in sys.stdin:
        print(json.dumps(run(Path(sys.argv[1]), Wanted(**json.loads(line)))), flush=True)


def warm_up() -> None:
    """Train a little here, so that the ranks import nothing any more."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log = parquet(folder / "log", rows(0, 200))
        train_in(folder / "registry", training(log, folder / "log"), log)
    needless = {"torch._dynamo", "torch._inductor", "scipy.stats"} & sys.modules.keys()
    assert not needless, f"every training waits for {needless}, each as slow to load as torch"


def run(folder: Path, wanted: Wanted) -> dict[str, Any]:
    """Fork all ranks, and wait for them."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    begun, begins = os.pipe()
    children = {os.fork() or rank_process(folder, wanted, rank, port, begins): rank for rank in range(wanted.ranks)}
    os.close(begins)
    if wanted.seconds and os.read(begun, 1):
        time.sleep(wanted.seconds)
        os.kill(next(pid for pid, rank in children.items() if rank == wanted.victim), wanted.signal)
    os.close(begun)
    ends, moments = {}, []
    while len(ends) < len(children):
        pid, status = os.wait()
        ends[children[pid]] = os.waitstatus_to_exitcode(status)
        moments.append(time.monotonic())
    return {"ends": [ends[rank] for rank in sorted(ends)], "seconds": moments[-1] - moments[0]}


def rank_process(folder: Path, wanted: Wanted, rank: int, port: int, begins: int) -> int:
    """A child: never returns."""
    signal.alarm(LIMIT)
    code = 1
    try:
        arrange(wanted, rank, begins)
        train(folder, wanted, rank, port)
        code = 0
    except TaskError as error:
        code = error.exit_code
        print(f"rank {rank}: {error.reason}: {error.message}", file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    sys.stderr.flush()
    os._exit(code)


def arrange(wanted: Wanted, rank: int, begins: int) -> None:
    """Let this process say that the victim begins, send itself the signal at the wanted step, and look for lost
    checkpoints only briefly.
    """
    original, steps = Learner.step, 0
    if wanted.apart:
        checkpoint.SHARED_SECONDS = 0.5

    def step(learner: Learner, *args: Any) -> None:
        nonlocal steps
        steps += 1
        if steps == 1:
            os.write(begins, b".")
        if steps == wanted.step:
            os.kill(os.getpid(), wanted.signal)
        original(learner, *args)

    if rank == wanted.victim:
        Learner.step = step  # type: ignore[method-assign]


def train(folder: Path, wanted: Wanted, rank: int, port: int) -> None:
    """What the container's task does, over a registry in a folder."""
    env = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": wanted.ranks, "MASTER_PORT": port}
    place = {"MASTER_ADDR": "127.0.0.1", "GLOO_SOCKET_IFNAME": "lo"}
    os.environ.update({name: str(value) for name, value in env.items()} | place)
    log, stop, task = ParquetEventLog(folder / "log"), StopRequest(), task_of(folder, wanted, rank)
    stop.install()
    with gathered(os.environ if wanted.ranks > 1 else {}, "cpu") as group:
        if group.rank > 0:
            follow_task(task, log, stop, group)
        else:
            train_task(task, log, FolderRegistry(folder / wanted.name), stop, group=group)


def task_of(folder: Path, wanted: Wanted, rank: int) -> TrainInput:
    """The update that comes next in the registry."""
    log = ParquetEventLog(folder / "log")
    first = training(
        log,
        folder / "log",
        data=data(folder / "log", replay={"ratio": 0.5}),
        window=Window(log.earliest(), wanted.to),
        config=wanted.config,
        split=wanted.split,
        checkpoint_dir=folder / f"{wanted.name}-checkpoints" / (str(rank) if wanted.apart else ""),
        ranks=wanted.ranks,
    )
    newest = FolderRegistry(folder / wanted.name).newest("ctr")
    if newest is None or newest.tags[tags.WINDOW] == first.window.canonical():
        return first
    outcome = {**newest.result, "version": newest.version}
    task = following(first, outcome, log, fresh=dict(outcome["trainedTo"]))
    return replace(task, window=Window(outcome["trainedTo"], wanted.to))


if __name__ == "__main__":
    main()
