"""The load client of the demo, in a pod or beside the test, followed through its lines."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from loop.manifests import INPUTS, caller
from loop.space import Space

RATE = 120
COUNTERS = ("sent", "ok", "failed", "mixed", "wrong", "oldAfterNew")


class Counting:
    """Counters of a running load client; ``log`` prints its lines."""

    def __init__(self, log: subprocess.Popen[str]) -> None:
        self._news = threading.Condition()
        self._latest: dict[str, Any] = {}
        self._summary: dict[str, Any] = {}
        self._log = log
        threading.Thread(target=self._follow, daemon=True).start()
        self._wait(lambda: self._latest.get("ok", 0) > 0, 120, "the caller got no answer")

    def counters(self) -> dict[str, int]:
        """Counters that hold everything sent before this call and answered by now, and the client's time of them in
        milliseconds."""
        self._wait(self._later(), 60, "the caller went silent")
        with self._news:
            latest = self._latest
        milliseconds = round(1000 * latest.get("t", 0.0))
        return {name: int(latest.get(name, 0)) for name in COUNTERS} | {"milliseconds": milliseconds}

    def since(self, before: dict[str, int]) -> dict[str, int]:
        """What was counted since ``before``."""
        return {name: count - before[name] for name, count in self.counters().items()}

    def none_lost_since(self, before: dict[str, int]) -> dict[str, int]:
        """Assert that no request failed, nor was mixed or wrong, since ``before``; returns what was counted."""
        counted = self.since(before)
        bad = {name: counted[name] for name in ("failed", "mixed", "wrong")}
        with self._news:
            why = {name: self._latest.get(name) for name in ("time", "reasons", "lastFailures")}
        assert counted["sent"] > 0
        assert not any(bad.values()), f"{bad} of {counted['sent']}; since its start: {why}"
        return counted

    def stop(self) -> dict[str, Any]:
        """Stop it; returns its summary."""
        self._end()
        self._wait(lambda: bool(self._summary), 60, "the caller left no summary")
        self._log.wait(60)
        return self._summary

    def _later(self) -> Callable[[], bool]:
        """Gives what says whether a line was printed after this call: one may be on its way."""
        with self._news:
            seen = self._latest.get("t", 0.0)
        return lambda: self._latest.get("t", 0.0) >= seen + 2

    def _end(self) -> None:
        """Ask the client to end."""
        self._log.terminate()

    def _wait(self, condition: Callable[[], bool], seconds: float, otherwise: str) -> None:
        with self._news:
            assert self._news.wait_for(condition, seconds), f"{otherwise}: {self._latest}"

    def _follow(self) -> None:
        for line in self._log.stdout or ():
            try:
                found = json.loads(line)
            except ValueError:
                continue
            with self._news:
                if "modes" in found:
                    self._summary = found
                else:
                    self._latest = found
                self._news.notify_all()


class Caller(Counting):
    """Calls the model at ``RATE`` requests per second from a pod until it is stopped.

    Parameters
    ----------
    golden
        Right answers by digest; other answers to the same inputs count as wrong.
    """

    def __init__(self, space: Space, golden: dict[str, Any]) -> None:
        self._space = space
        space.apply(*caller(space.name, RATE, golden))
        space.wait_for("pod/caller", "condition=Ready", 120)
        super().__init__(self._open_log())

    def _end(self) -> None:
        self._space.kubectl("delete", "pod", "caller", "--wait=false")

    def _open_log(self) -> subprocess.Popen[str]:
        tools = self._space.tools
        command = [tools.kubectl_path, "logs", "-f", "caller", "-n", self._space.name]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **tools.env})


class LocalCaller(Counting):
    """The same from this machine, for clusters whose Services it reaches.

    Parameters
    ----------
    address
        Of the Service, with its port.
    golden
        File with right answers by digest; read again when it changes.
    """

    def __init__(self, address: str, model: str, golden: Path, *, mode: str = "both") -> None:
        options = {"url": f"http://{address}/v2/models/{model}/infer", "rate": RATE, "mode": mode}
        options |= {"duration": 86400, "inputs": INPUTS, "golden": golden, "every": 0.2}
        command = [sys.executable, "-m", "viridian_demo.load", "--live"]
        command += [f"--{name}={value}" for name, value in options.items()]
        super().__init__(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))

    def _later(self) -> Callable[[], bool]:
        now = time.time()  # its clock is ours
        return lambda: bool(self._latest.get("time", 0.0) >= now)
