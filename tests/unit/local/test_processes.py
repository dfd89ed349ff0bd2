"""A signal goes to a process only if it is really the one that was started."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from viridian_local import processes

SLEEPER = [sys.executable, "-c", "import time; print('hello', flush=True); time.sleep(600)"]


@pytest.fixture
def folders(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    pids, logs = tmp_path / "pids", tmp_path / "logs"
    yield pids, logs
    processes.stop(pids, "sleeper", patience=1)


def test_a_started_process_is_known_by_its_pid_file(folders: tuple[Path, Path]) -> None:
    pids, logs = folders
    processes.start(pids, logs, "sleeper", SLEEPER)
    pid = processes.alive(pids, "sleeper")
    assert pid
    assert processes.resident_bytes(pid) > 0
    assert processes.stop(pids, "sleeper")
    assert not processes.alive(pids, "sleeper")
    assert not processes.stop(pids, "sleeper"), "stopping twice does no harm"


def test_a_process_that_ignores_the_polite_signal_is_ended_all_the_same(folders: tuple[Path, Path]) -> None:
    pids, logs = folders
    program = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True); time.sleep(600)"
    deaf = [sys.executable, "-c", program]
    processes.start(pids, logs, "sleeper", deaf)
    log = logs / "sleeper.log"
    while not log.read_text():
        pass
    assert processes.stop(pids, "sleeper", patience=0.2)


def test_a_pid_that_was_used_again_is_left_alone(folders: tuple[Path, Path]) -> None:
    pids, _ = folders
    other = subprocess.Popen(SLEEPER)
    try:
        pids.mkdir()
        (pids / "sleeper.json").write_text('["/somewhere/etcd", "--flag"]')
        (pids / "sleeper.pid").write_text(str(other.pid))
        assert not processes.alive(pids, "sleeper")
        assert not processes.stop(pids, "sleeper")
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_our_own_command_line_is_ours_and_no_other_is() -> None:
    assert processes.is_ours(os.getpid(), processes.command_line(os.getpid()))
    assert not processes.is_ours(os.getpid(), ["something else"])
    assert not processes.is_ours(2**22 + 1, ["python"])
    assert not processes.is_ours(0, [])


def test_the_end_of_a_log_is_shown(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    log.write_text("".join(f"line {number}\n" for number in range(5000)))
    assert processes.tail(log, 2) == "    line 4998\n    line 4999"
    assert "no log" in processes.tail(tmp_path / "absent.log")
