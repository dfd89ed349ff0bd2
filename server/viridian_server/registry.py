"""Fetch a bundle from MLflow in a process of its own; try again for a while if the registry cannot be reached."""

from __future__ import annotations

import json
import logging
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

from viridian_server.failure import LoadFailure
from viridian_server.revision import Revision

log = logging.getLogger(__name__)

_DEFAULTS = {
    # We retry ourselves and want to know soon.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0


class Stopped(Exception):
    """The server was told to stop while it loaded."""


def download(revision: Revision, into: Path, deadline: float, stop: threading.Event) -> None:
    """Fill ``into`` with the files of the bundle; try until ``deadline`` (monotonic).

    Raises:
        LoadFailure: what the last attempt said.
        Stopped: ``stop`` was set.
    """
    pause = _FIRST_PAUSE
    while True:
        failure = _attempt(revision, into, deadline, stop)
        if failure is None:
            return
        left = deadline - time.monotonic()
        if failure.reason != "RegistryUnreachable" or left <= 0:
            raise failure
        wait = min(left, pause * random.uniform(0.75, 1.25))  # noqa: S311  spreads pods, no secret
        log.warning("fetch failed, trying again", extra={"error": failure.message, "seconds": round(wait, 2)})
        if stop.wait(wait):
            raise Stopped
        pause = min(2 * pause, _LONGEST_PAUSE)


def _attempt(revision: Revision, into: Path, deadline: float, stop: threading.Event) -> LoadFailure | None:
    scratch = into / ".download"
    shutil.rmtree(scratch, ignore_errors=True)
    command = [sys.executable, "-m", "viridian_server.fetch", "--model", revision.model]
    command += ["--version", revision.version, "--digest", revision.digest, "--into", str(into)]
    process = subprocess.Popen(  # noqa: S603
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=_DEFAULTS | dict(os.environ)
    )
    try:
        out, err = _wait(process, deadline, stop)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    if process.returncode == 0:
        return None
    return _reported(out) or LoadFailure(
        "RegistryUnreachable", f"the fetch ended with code {process.returncode}: {err.strip()[-300:]}"
    )


def _wait(process: subprocess.Popen[str], deadline: float, stop: threading.Event) -> tuple[str, str]:
    while True:
        if stop.is_set():
            raise Stopped
        try:
            return process.communicate(timeout=0.1)
        except subprocess.TimeoutExpired:
            if time.monotonic() > deadline:
                return json.dumps({"reason": "RegistryUnreachable", "message": "the fetch took too long"}), ""


def _reported(out: str) -> LoadFailure | None:
    try:
        report = json.loads(out.strip().rpartition("\n")[2])
        return LoadFailure(report["reason"], report["message"])
    except (ValueError, KeyError, TypeError):
        return None
