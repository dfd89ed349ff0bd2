"""Who started the cluster, and one command at a time on it."""

import fcntl
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from viridian_local import processes
from viridian_local.errors import Problem
from viridian_local.paths import CHECKOUT, Paths
from viridian_local.preflight import writable
from viridian_local.progress import Step, write

PATIENCE = 1800.0


@contextmanager
def alone(paths: Paths) -> Iterator[None]:
    """Hold the lock of the machine's cluster; wait for another command that holds it. A killed holder frees it."""
    writable(paths.run)
    with (paths.run / "lock").open("w") as lock:
        waiting = Step("Waiting for another command that works on the cluster")
        while not _taken(lock.fileno()):
            if waiting.elapsed > PATIENCE:
                raise Problem("Another command has been working on the cluster for half an hour.", "End it first.")
            waiting.say("still busy")
            time.sleep(0.2)
        yield


def _taken(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def read(paths: Paths) -> dict[str, Any]:
    """The record of the last start; empty when there was none, or it was cleaned up."""
    try:
        record: dict[str, Any] = json.loads(paths.record.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        record = {}
    return record


def save(paths: Paths, values: dict[str, Any]) -> None:
    """Write the record so that a reader never sees half of it."""
    record = {"checkout": str(CHECKOUT), "state": str(paths.state), **values}
    scratch = paths.record.with_suffix(".new")
    scratch.write_text(json.dumps(record, indent=1))
    scratch.rename(paths.record)


def refuse_foreign(paths: Paths, record: dict[str, Any]) -> None:
    """One machine holds one cluster: leave that of another checkout or state folder alone while it runs."""
    checkout, state = record.get("checkout"), record.get("state")
    if not record or (checkout, state) == (str(CHECKOUT), str(paths.state)):
        return
    if any(processes.alive(paths.pids, name) for name in record.get("components", ())):
        raise Problem(
            f"A cluster that was started from {checkout} (state in {state}) is running on this machine.",
            f"Stop it there with `make cluster-down`, or use it: export KUBECONFIG={state}/kubeconfig",
        )


def announce(paths: Paths) -> None:
    """Say how to use the cluster."""
    write(f"The cluster is running. export KUBECONFIG={paths.kubeconfig}")
