"""The load client of the demo in a pod, followed through its log."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Callable
from typing import Any

from loop.manifests import caller
from loop.space import Space

RATE = 120
COUNTERS = ("sent", "ok", "failed", "mixed", "wrong", "oldAfterNew")


class Caller:
    """Calls the model at ``RATE`` requests per second until it is stopped.

    Parameters
    ----------
    golden
        Right answers by digest; other answers to the same inputs count as wrong.
    """

    def __init__(self, space: Space, golden: dict[str, Any]) -> None:
        self._space = space
        self._news = threading.Condition()
        self._latest: dict[str, Any] = {}
        self._summary: dict[str, Any] = {}
        space.apply(*caller(space.name, RATE, golden))
        space.wait_for("pod/caller", "condition=Ready", 120)
        self._log = self._open_log()
        threading.Thread(target=self._follow, daemon=True).start()
        self._wait(lambda: self._latest.get("ok", 0) > 0, 120, "the caller got no answer")

    def counters(self) -> dict[str, int]:
        """Counters that hold everything sent before this call and answered by now."""
        with self._news:
            seen = self._latest.get("t", 0.0)
        self._wait(lambda: self._latest.get("t", 0.0) >= seen + 2, 60, "the caller went silent")
        return {name: int(self._latest.get(name, 0)) for name in COUNTERS}

    def since(self, before: dict[str, int]) -> dict[str, int]:
        """What was counted since ``before``."""
        return {name: count - before[name] for name, count in self.counters().items()}

    def stop(self) -> dict[str, Any]:
        """Stop it; returns its summary."""
        self._space.kubectl("delete", "pod", "caller", "--wait=false")
        self._wait(lambda: bool(self._summary), 60, "the caller left no summary")
        self._log.wait(60)
        return self._summary

    def _open_log(self) -> subprocess.Popen[str]:
        tools = self._space.tools
        command = [tools.kubectl_path, "logs", "-f", "caller", "-n", self._space.name]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **tools.env})

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
