"""The first process of a pod that trains with others: small, and always there to be told to stop."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Mapping

from viridian_trainer import result as termination
from viridian_trainer.errors import BadUsage, Stopped
from viridian_trainer.gang.layout import layout
from viridian_trainer.gang.reports import silent


def is_wanted(env: Mapping[str, str]) -> bool:
    """Whether this process is to start others that train, rather than do the task itself and say what is wrong."""
    try:
        return env.get("VIRIDIAN_TASK") == "Train" and "RANK" not in env and layout(env).ranks > 1
    except BadUsage:
        return False


def supervise(env: Mapping[str, str]) -> int:
    """Start torchrun, hand signals on, and give the exit code of the contract.

    While pods wait for each other nothing that runs Python can answer a signal, and the first process of a container
    is not ended by a signal that it does not handle: therefore torchrun is a second process.
    """
    with subprocess.Popen([sys.executable, "-m", "viridian_trainer.gang.agent"]) as agent:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, _: agent.send_signal(number))
        status = agent.wait()
    if status >= 0:
        return status
    task = env.get("VIRIDIAN_TASK", "Unknown")
    if -status in (signal.SIGTERM, signal.SIGINT):
        words, code = termination.failure(task, Stopped("stopped while its processes were being started or ended"))
    else:
        end = silent(task, 0, status)
        words, code = dict(end.words), end.code
    termination.write(words)
    return code
