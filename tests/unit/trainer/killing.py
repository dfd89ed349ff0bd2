"""``python killing.py SEED KILLS ARGUMENT…``: run the trainer's command again and again, killing it each time.

A small loop runs here first, so that torch and all that is imported late is there; every attempt is a process of
its own that is forked from here. Half of them are killed at a random moment, half right before a random file
operation, so that the gaps between two writes are hit as well. The last attempt runs to its end. Prints one line
of JSON: how many were killed, in which stage of an update, and the last exit code.
"""

from __future__ import annotations

import json
import os
import random
import select
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import torch
from worlds import parquet, rows

from viridian_trainer.cli.app import app

UPDATES = 3  # how many updates an attempt does at most before it is killed
WARMING = 8
WATCHED = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree", "shutil.copyfile"}


def attempt(arguments: list[str], operation: int | None, moment: float | None) -> int:
    """Run the command in a child; gives its exit code, or minus the signal that ended it."""
    child = os.fork()
    if child == 0:
        run(arguments, operation)
    return ended(child, moment)


def ended(child: int, moment: float | None) -> int:
    """Kill a child after so many seconds unless it ends before; gives its exit code, or minus the signal."""
    if moment is None:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    process = os.pidfd_open(child)  # names this child only, also when it is gone and its number is another's
    select.select([process], [], [], moment)  # readable once it has ended
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(process, signal.SIGKILL)
    os.close(process)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def run(arguments: list[str], operation: int | None) -> None:
    """The child: never returns."""
    code = 1
    try:
        if operation is not None:
            kill_before(operation)
        app(arguments)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    finally:
        sys.stderr.flush()
        os._exit(code)


def kill_before(operation: int) -> None:
    """Arrange the death of this process right before a file operation."""
    left = operation

    def hook(event: str, _: object) -> None:
        nonlocal left
        if event in WATCHED:
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def warm_up(arguments: list[str]) -> tuple[float, int]:
    """Run a loop in this process; gives the seconds and the file operations of one update."""
    with tempfile.TemporaryDirectory() as folder:
        parquet(Path(folder, "log"), rows(0, 600))
        places = {"--parquet": "log", "--registry": "r", "--checkpoints": "c"}
        own = [value for name, path in places.items() for value in (name, str(Path(folder, path)))]
        sizes = ["--first", "600", "--interval", "16"]
        with suppress(SystemExit):
            app([*arguments, *own, *sizes])
        parquet(Path(folder, "log"), rows(600, 16 * WARMING))
        done = count_operations()
        begun, before = time.monotonic(), done[0]
        with suppress(SystemExit):
            app([*arguments, *own, *sizes])
        return (time.monotonic() - begun) / WARMING, (done[0] - before) // WARMING


def count_operations() -> list[int]:
    """A counter of this process's file operations."""
    done = [0]

    def hook(event: str, _: object) -> None:
        done[0] += event in WATCHED

    sys.addaudithook(hook)
    return done


def stage(arguments: list[str]) -> str:
    """How far the newest update had come, as the files say."""
    place = {name: Path(arguments[arguments.index(name) + 1]) for name in ("--registry", "--checkpoints", "--model")}
    records = sorted((place["--registry"] / place["--model"] / "journal").glob("*.json"))
    if not records:
        return "before the first"
    last = json.loads(records[-1].read_text())
    if last["verdict"]:
        return "between updates"
    versions = (place["--registry"] / place["--model"]).glob("*/version.json")
    tags = [json.loads(path.read_text())["tags"]["viridian.update"] for path in versions if path.parent.name.isdigit()]
    if f"local/{last['number']}" in tags:
        return "judging"
    return "training" if any(place["--checkpoints"].glob(f"*.{last['number']}.*/*.safetensors")) else "planned"


def main() -> None:
    """Kill, then finish."""
    seed, kills, arguments = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    torch.set_num_threads(1)
    seconds, operations = warm_up(arguments)
    choice, killed, stages, code = random.Random(seed), 0, Counter[str](), -signal.SIGKILL
    while killed < kills and code == -signal.SIGKILL:
        if choice.random() < 0.5:
            code = attempt(arguments, choice.randrange(int(UPDATES * operations)), None)
        else:
            code = attempt(arguments, None, choice.uniform(0, UPDATES * seconds))
        killed += code == -signal.SIGKILL
        stages[stage(arguments)] += code == -signal.SIGKILL
    last = attempt(arguments, None, None) if code == -signal.SIGKILL else code
    print(json.dumps({"killed": killed, "code": last, "stages": stages, "update": [seconds, operations]}))


if __name__ == "__main__":
    main()
