"""Operator processes under the control of a test."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

PROGRAM = Path(__file__).parent / "fake_operator.py"


def until[T](look: Callable[[], T], what: str, seconds: float = 30) -> T:
    """The first truthy answer of ``look``; fails after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.02)
    return found


class Operator:
    """One process; ``notes`` of all of them are in one file."""

    def __init__(
        self,
        directory: Path,
        kubeconfig: Path,
        number: int,
        program: Sequence[str] = (str(PROGRAM),),
        **environment: str,
    ) -> None:
        self._log = directory / f"operator-{number}.log"
        self._notes = directory / "notes"
        self._notes.touch()
        variables = {
            "VIRIDIAN_KUBECONFIG": str(kubeconfig),
            "VIRIDIAN_IDENTITY": f"operator-{number}",
            "VIRIDIAN_PROBE_HOST": "127.0.0.1",
            "VIRIDIAN_PROBE_PORT": "0",
            "FAKE_NOTES": str(self._notes),
        }
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, *program],
                env=os.environ | variables | environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def log(self) -> str:
        return self._log.read_text()

    def notes(self, what: str = "begin") -> list[dict[str, Any]]:
        """Passes that this process began or ended."""
        lines = [json.loads(line) for line in self._notes.read_text().splitlines()]
        return [line for line in lines if line["pid"] == self.pid and line["what"] == what]

    def passes(self) -> list[str]:
        """Keys of the passes that began."""
        return [line["key"] for line in self.notes()]

    def probe(self, path: str) -> tuple[int, str]:
        """Status and text of a probe."""
        found = re.search(r"metrics on port (\d+)", self.log())
        if not found:
            return 0, ""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{found[1]}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def ready(self) -> bool:
        assert self.process.poll() is None, self.log()
        return self.probe("/readyz")[0] == 200

    def leads(self) -> bool:
        return "viridian_leader 1.0" in self.probe("/metrics")[1]

    def resident(self) -> float:
        """Resident memory in MiB."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024

    def signal(self, number: int) -> float:
        """Send a signal; returns when."""
        now = time.time()
        self.process.send_signal(number)
        return now

    def wait(self, seconds: float = 20) -> int:
        return self.process.wait(seconds)

    def end(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)
            self.process.wait()
