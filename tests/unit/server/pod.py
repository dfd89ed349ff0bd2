"""Directories of a pod, a server as a process of its own, and requests to it."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sample_bundle import ROWS, SCHEMA, write

from viridian_model.requests import inputs_of_rows

DEADLINE = 180.0
TOKEN = "s3cret"
INFER = "/v2/models/ctr/infer"
BODY = json.dumps({"id": "r1", "inputs": inputs_of_rows(ROWS[:3], SCHEMA)})


class Site:
    """Directories that a pod has mounted."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store, self.revision = root / "store", root / "revision"
        self.termination_log = root / "termination-log"
        for directory in (self.store, self.revision):
            directory.mkdir()
        (root / "token").write_text(TOKEN + "\n")

    def want(self, digest: str, *, version: str = "3", model: str = "ctr", follow: bool = False, **more: Any) -> str:
        """Write ``revision.json``."""
        wanted = {"model": model, "version": version, "digest": digest, "eventTime": 1732453000.5, "follow": follow}
        wanted |= more
        (self.revision / "revision.json").write_text(json.dumps(wanted))
        return digest

    def stored(self, *, seed: int = 1) -> str:
        """Put a bundle into the store and want it."""
        digest = write(self.root / "new", seed=seed)
        (self.root / "new").rename(self.store / digest.removeprefix("sha256:"))
        return self.want(digest)

    def env(self, **more: str) -> dict[str, str]:
        """Return the environment of a server."""
        return {
            "VIRIDIAN_HOST": "127.0.0.1",
            "VIRIDIAN_PORT": "0",
            "VIRIDIAN_BUNDLE_STORE": str(self.store),
            "VIRIDIAN_REVISION_DIR": str(self.revision),
            "VIRIDIAN_ADMIN_TOKEN_FILE": str(self.root / "token"),
            "VIRIDIAN_TERMINATION_LOG": str(self.termination_log),
            **more,
        }

    def last_words(self) -> dict[str, str]:
        """Return the error in the termination log."""
        error: dict[str, str] = json.loads(self.termination_log.read_text())["error"]
        return error


class Process:
    """A running ``python -m viridian_server``."""

    def __init__(self, env: dict[str, str]) -> None:
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "viridian_server"], env=inherited | env, stdout=subprocess.PIPE, text=True
        )
        self.logs: list[dict[str, Any]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.popen.stdout
        for line in self.popen.stdout:
            self.logs.append(json.loads(line))

    def connect(self) -> http.client.HTTPConnection:
        """Open a connection that is kept."""
        until(lambda: self.said("listening") or self.popen.poll() is not None)
        port = int(self.said("listening")[0]["addresses"][0].rpartition(",")[2].strip(" )"))
        return http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)

    def get(self, path: str) -> tuple[int, Any]:
        """GET over a connection of its own."""
        status, _, body = exchange(self.connect(), "GET", path)
        return status, body

    def said(self, event: str) -> list[dict[str, Any]]:
        """Return the log entries of this event."""
        return [entry for entry in list(self.logs) if entry["event"] == event]

    def wait_ready(self) -> Process:
        """Wait until readiness is 200."""
        until(lambda: self.popen.poll() is not None or self.get("/v2/health/ready")[0] == 200)
        assert self.popen.poll() is None, self.logs
        return self

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.popen.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        """Wait for the end and return the exit code."""
        code = self.popen.wait(DEADLINE)
        self._reader.join(DEADLINE)
        return code


def exchange(
    connection: http.client.HTTPConnection, method: str, path: str, body: str | None = None, **headers: str
) -> tuple[int, http.client.HTTPMessage, Any]:
    """Send a request; return status, headers and the JSON of the body (None if it is empty)."""
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    data = response.read()
    return response.status, response.headers, json.loads(data) if data else None


def until(condition: Callable[[], Any]) -> Any:
    """Poll until ``condition`` holds; fail at the deadline."""
    deadline = time.monotonic() + DEADLINE
    while not (value := condition()):
        assert time.monotonic() < deadline, "the condition never held"
        threading.Event().wait(0.02)
    return value
