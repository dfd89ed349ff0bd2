"""A real Redis server on a free loopback port."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

REDIS = "/usr/bin/redis-server"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RedisServer:
    """Starts and stops ``redis-server`` on one port; as a context manager, it runs as long as the context."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.port, self._directory, self._options = free_port(), directory, options
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        program = shutil.which("redis-server") or REDIS
        if not Path(program).exists():
            raise AssertionError("redis-server is missing: install the package redis-server (version 7 or newer)")
        command = [program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self._directory.mkdir(exist_ok=True)
        with (self._directory / "redis.log").open("wb") as output:
            self._process = subprocess.Popen([*command, *self._options], stdout=output, cwd=self._directory)
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                assert time.monotonic() < deadline, "redis-server did not start"
                time.sleep(0.02)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
            self._process = None

    @contextmanager
    def silent(self) -> Iterator[None]:
        """Answers nobody for a while, and then has what it had."""
        assert self._process is not None, "start it first"
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)
