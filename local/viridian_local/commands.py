"""Running other programs: output kept, failures told with the last lines of what the program said."""

import os
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from viridian_local.errors import Problem
from viridian_local.progress import Step

TAIL = 20


def run(
    command: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: str | None = None,
    check: bool = True,
    timeout: float = 600,
) -> "subprocess.CompletedProcess[str]":
    """Run a short command; a failure becomes a ``Problem`` with its last lines, unless ``check`` is off."""
    try:
        done = subprocess.run(
            [str(part) for part in command],
            env={**os.environ, **(env or {})},
            cwd=cwd,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )
    except FileNotFoundError as error:
        raise Problem(f"The program {command[0]} is missing.", "Install it and try again.") from error
    except subprocess.TimeoutExpired as error:
        raise Problem(f"{shown(command)} did not end within {timeout:.0f} s.") from error
    if check and done.returncode != 0:
        raise failed(command, done.returncode, (done.stderr or done.stdout).splitlines())
    return done


def follow(
    command: Sequence[str | Path],
    step: Step,
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    describe: Callable[[int, str], str] = lambda _, line: line[:100],
) -> None:
    """Run a long command and report its progress; ``describe`` gets the number of lines so far and the last one."""
    last: deque[str] = deque(maxlen=TAIL)
    try:
        process = subprocess.Popen(
            [str(part) for part in command],
            env={**os.environ, **(env or {})},
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
    except FileNotFoundError as error:
        raise Problem(f"The program {command[0]} is missing.", "Install it and try again.") from error
    count = [0]
    reader = threading.Thread(target=_read, args=(process, last, count), daemon=True)
    reader.start()
    try:
        while reader.is_alive():
            reader.join(timeout=1)
            step.say(describe(count[0], last[-1] if last else "starting"))
        code = process.wait()
    except BaseException:
        process.terminate()
        process.wait()
        raise
    if code != 0:
        raise failed(command, code, list(last))


def _read(process: "subprocess.Popen[str]", last: "deque[str]", count: list[int]) -> None:
    for line in process.stdout or ():
        if line.strip():
            last.append(line.rstrip())
            count[0] += 1


def failed(command: Sequence[str | Path], code: int, lines: Sequence[str]) -> Problem:
    """The error for a command that ended with ``code``, showing the last lines of its output."""
    tail = "\n".join(f"    {line}" for line in lines[-TAIL:])
    return Problem(f"{shown(command)} failed with exit code {code}:\n{tail}")


def shown(command: Sequence[str | Path]) -> str:
    """The command as people read it, cut when it is long."""
    text = " ".join(str(part) for part in command)
    return text if len(text) <= 120 else text[:117] + "…"
