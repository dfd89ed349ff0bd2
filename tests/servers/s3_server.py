"""A real S3 service (Versity S3 Gateway over a folder) on a free loopback port."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

from redis_server import free_port

BUCKET = "models"
CREDENTIALS = {"VIRIDIAN_STORE_USERNAME": "tester", "VIRIDIAN_STORE_PASSWORD": "not-a-secret"}


def _program() -> str:
    """``versitygw`` of ``VIRIDIAN_BIN_DIR``, of the search path, or built by the local cluster's tools."""
    path = os.pathsep.join(filter(None, [os.environ.get("VIRIDIAN_BIN_DIR"), os.environ["PATH"]]))
    if found := shutil.which("versitygw", path=path):
        return found
    built = subprocess.run(
        [sys.executable, "-m", "viridian_local", "tool", "versitygw"], capture_output=True, text=True
    )
    if built.returncode:
        raise AssertionError(f"versitygw is missing and could not be built: {built.stderr.strip()}")
    return built.stdout.strip()


class S3Server:
    """Starts and stops ``versitygw`` on one port; it has one bucket."""

    def __init__(self, directory: Path) -> None:
        self.port, self._directory = free_port(), directory
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, prefix: str, bucket: str = BUCKET) -> str:
        """Address of a store."""
        return f"s3://{bucket}/{prefix}?endpoint={self.endpoint}&region=us-east-1&poll=0.02"

    def start(self) -> None:
        """Start it and wait until it listens."""
        (self._directory / "data" / BUCKET).mkdir(parents=True, exist_ok=True)
        command = [_program(), "--quiet", "--port", f"127.0.0.1:{self.port}", "posix", str(self._directory / "data")]
        secrets = {
            "ROOT_ACCESS_KEY": CREDENTIALS["VIRIDIAN_STORE_USERNAME"],
            "ROOT_SECRET_KEY": CREDENTIALS["VIRIDIAN_STORE_PASSWORD"],
        }
        with (self._directory / "s3.log").open("wb") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=output, env={**os.environ, **secrets})
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                assert time.monotonic() < deadline, "versitygw did not start"
                time.sleep(0.02)

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
            self._process = None
