"""The client that calls the model all the time, and its counters."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from typing import Any

from viridian_demo.commands import CommandFailed, Tools
from viridian_demo.install import NAMESPACE, image, manifest

FIRST_ANSWER = 120.0
#: answers are not compared with expected ones here; the cluster tests do that
COUNTERS = ("ok", "failed", "mixed", "oldAfterNew")


class Caller:
    """A pod with the load client, followed through its log."""

    def __init__(self, tools: Tools, *, rate: int, inputs: str, service: str = "ctr", model: str = "ctr") -> None:
        self._tools, self._rate, self._inputs, self._service, self._model = tools, rate, inputs, service, model
        self.latest: dict[str, Any] = {}
        self.summary: dict[str, Any] = {}
        self._news = threading.Condition()
        self._follower: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start it and wait for its first answers."""
        text = manifest("caller", SERVER_IMAGE=image("server"), RATE=str(self._rate), LOAD_INPUTS=self._inputs)
        text = text.replace("http://ctr.", f"http://{self._service}.")
        text = text.replace("/models/ctr/", f"/models/{self._model}/")
        self._tools.kubectl("apply", "-f", "-", stdin=text)
        self._tools.kubectl("wait", "--for=condition=Ready", "pod/caller", "-n", NAMESPACE, "--timeout=120s")
        command = [self._tools.kubectl_path, "logs", "-f", "caller", "-n", NAMESPACE]
        env = {**os.environ, **self._tools.env}
        self._follower = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env)
        threading.Thread(target=self._follow, daemon=True).start()
        self.wait(lambda: self.latest.get("ok", 0) > 0, FIRST_ANSWER, "the caller got no answer")

    def _follow(self) -> None:
        if self._follower is None or self._follower.stdout is None:
            return
        for line in self._follower.stdout:
            try:
                found = json.loads(line)
            except ValueError:
                continue
            with self._news:
                if "modes" in found:
                    self.summary = found
                else:
                    self.latest = found
                self._news.notify_all()

    def wait(self, condition: Any, seconds: float, otherwise: str) -> None:
        """Wait until a condition on the counters holds.

        Raises
        ------
        CommandFailed
            If it does not in time.
        """
        with self._news:
            if not self._news.wait_for(condition, seconds):
                raise CommandFailed(f"{otherwise}: {self.latest}")

    def counters(self) -> dict[str, int]:
        """Counters as they are in a second from now, so that everything sent before is counted."""
        mark = time.monotonic()
        seen = self.latest.get("t", 0.0)
        self.wait(lambda: self.latest.get("t", 0.0) >= seen + 2, 30, f"the caller went silent at {mark}")
        found = {name: int(self.latest.get(name, 0)) for name in COUNTERS}
        # requests that are on their way belong to what is counted next
        return {"ended": found["ok"] + found["failed"], **found}

    def stop(self) -> dict[str, Any]:
        """Stop it and return its summary."""
        self._tools.kubectl("delete", "pod", "caller", "-n", NAMESPACE, "--wait=false")
        self.wait(lambda: bool(self.summary), 60, "the caller left no summary")
        if self._follower is not None:
            self._follower.wait(30)
        self._tools.kubectl("wait", "--for=delete", "pod/caller", "-n", NAMESPACE, "--timeout=60s")
        return self.summary
