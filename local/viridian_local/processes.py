"""Processes that outlive the command that starts them: pids on file, and never a signal to somebody else's pid."""

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from viridian_local.errors import Problem

PROC = Path("/proc")
# The shell writes its own pid before it becomes the program, so there is no moment without a pid on file
# in which a killed start could leave a process that nobody knows.
_WRAPPER = 'echo $$ > "$0"; exec "$@"'


@dataclass(frozen=True)
class Recorded:
    """What is on file about a process: its name, and the command that was started."""

    name: str
    command: list[str]
    pid: int


def start(pids: Path, logs: Path, name: str, command: list[str]) -> None:
    """Start ``command`` in a session of its own, its output appended to ``logs/NAME.log``."""
    pids.mkdir(parents=True, exist_ok=True)
    logs.mkdir(parents=True, exist_ok=True)
    (pids / f"{name}.json").write_text(json.dumps(command))
    (pids / f"{name}.pid").unlink(missing_ok=True)
    with (logs / f"{name}.log").open("ab") as log:
        subprocess.Popen(
            ["/bin/sh", "-c", _WRAPPER, str(pids / f"{name}.pid"), *command],
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    _wait_until(lambda: _read_pid(pids / f"{name}.pid") != 0, 5)


def recorded(pids: Path, name: str) -> Recorded | None:
    """What is on file about ``name``, or nothing if it was never started."""
    try:
        command = json.loads((pids / f"{name}.json").read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return Recorded(name, command, _read_pid(pids / f"{name}.pid"))


def alive(pids: Path, name: str) -> int:
    """The pid of the process if it runs and is really ours, else 0."""
    known = recorded(pids, name)
    return known.pid if known and is_ours(known.pid, known.command) else 0


def is_ours(pid: int, command: list[str]) -> bool:
    """Whether ``pid`` runs ``command``: pids are used again, and a file may be older than a reboot."""
    running = command_line(pid)
    # A process that is just becoming another program has no arguments for a moment.
    for _ in range(10):
        if running or not _lives(pid):
            break
        time.sleep(0.01)
        running = command_line(pid)
    starting = running[:3] == ["/bin/sh", "-c", _WRAPPER] and running[4:] == command
    return bool(command) and (running == command or starting)


def _lives(pid: int) -> bool:
    try:
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (OSError, IndexError):
        return False


def command_line(pid: int) -> list[str]:
    """The arguments of a process; empty when it is gone or a zombie."""
    try:
        raw = (PROC / str(pid) / "cmdline").read_bytes()
    except OSError:
        return []
    return [part.decode(errors="replace") for part in raw.split(b"\0")[:-1]] if pid > 0 else []


def stop(pids: Path, name: str, patience: float = 10) -> bool:
    """End the process: SIGTERM, then SIGKILL after ``patience`` seconds. Return whether it was running."""
    known = recorded(pids, name)
    if known and known.pid == 0:  # killed between the two files: the shell is about to write its pid
        _wait_until(lambda: _read_pid(pids / f"{name}.pid") != 0, 0.5)
        known = recorded(pids, name)
    running = bool(known and is_ours(known.pid, known.command))
    if known and running:
        end(known.pid, known.command, patience)
    for suffix in ("pid", "json"):
        (pids / f"{name}.{suffix}").unlink(missing_ok=True)
    return running


def end(pid: int, command: list[str], patience: float) -> None:
    """End one process whose command line is known, with SIGKILL if it takes longer than ``patience``."""
    for number, seconds in ((signal.SIGTERM, patience), (signal.SIGKILL, 5.0)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        if _wait_until(lambda: not is_ours(pid, command), seconds):
            _reap(pid)
            return
    raise Problem(f"Process {pid} ({command[0]}) does not end.", "See `ps` for what it waits for.")


def tail(log: Path, lines: int = 15) -> str:
    """The last lines of a log, indented, for an error message."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 16384))
            text = file.read().decode(errors="replace")
    except OSError:
        return "    (no log)"
    return "\n".join(f"    {line[:300]}" for line in text.splitlines()[-lines:])


def resident_bytes(pid: int) -> int:
    """Resident memory of a process in bytes; 0 when it is gone."""
    try:
        pages = int((PROC / str(pid) / "statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _read_pid(path: Path) -> int:
    try:
        return int(path.read_text().strip())
    except (OSError, ValueError):
        return 0


def _reap(pid: int) -> None:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def _wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
