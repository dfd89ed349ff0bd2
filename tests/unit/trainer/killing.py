"""``python killing.py SEED KILLS ARGUMENT…``: run the trainer's command again and again, killing it each time.

The command line, torch and everything else are imported once; every attempt is a process of its own that is
forked from here. Half of them are killed at a random moment, half right before a random file operation, so
that the gaps between two writes are hit as well. The last attempt runs to its end. Prints one JSON line.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from contextlib import suppress

import scipy.stats  # noqa: F401
import torch
import torchmetrics.classification  # noqa: F401

from viridian_trainer.cli.app import app

MOMENTS = 0.35  # seconds: about two updates of 16 events
OPERATIONS = 160  # about two updates as well
WATCHED = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree", "shutil.copyfile"}


def attempt(arguments: list[str], operation: int | None, moment: float | None) -> int:
    """Run the command in a child; gives its exit code, or minus the signal that ended it."""
    child = os.fork()
    if child == 0:
        run(arguments, operation)
    if moment is not None:
        time.sleep(moment)
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
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


def main() -> None:
    """Kill, then finish."""
    seed, kills, arguments = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    torch.set_num_threads(1)
    choice, killed, ends = random.Random(seed), 0, []
    while killed < kills and 0 not in ends:
        if choice.random() < 0.5:
            ends.append(attempt(arguments, choice.randrange(OPERATIONS), None))
        else:
            ends.append(attempt(arguments, None, choice.uniform(0, MOMENTS)))
        killed += ends[-1] == -signal.SIGKILL
        if ends[-1] not in (0, -signal.SIGKILL):
            break
    last = ends[-1] if ends and ends[-1] != -signal.SIGKILL else attempt(arguments, None, None)
    print(json.dumps({"killed": killed, "code": last}))


if __name__ == "__main__":
    main()
