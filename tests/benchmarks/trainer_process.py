"""A `LargeTrainer` in a process of its own."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType

from tests.benchmarks.large_model import LargeTrainer
from tests.benchmarks.waiting import DEADLINE

from viridian_model.store import open_store


class TrainerProcess:
    """Publishes while it is told to; as a context manager, it ends with the context."""

    def __init__(self, url: str, folder: Path, interval: float) -> None:
        """Make the anchor, with its bundle in ``folder``, and wait for that; then a delta each ``interval`` seconds."""
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(url, folder, interval, theirs), daemon=True)
        self._process.start()
        theirs.close()
        self.digest: str = self._answer()

    def __enter__(self) -> TrainerProcess:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._pipe.close()
        self._process.join(DEADLINE)

    @contextmanager
    def publishing(self) -> Iterator[None]:
        """Publish until the end of the context."""
        self._pipe.send("begin")
        yield
        self._pipe.send("end")
        assert self._answer() == "ended"

    def _answer(self) -> str:
        if not self._pipe.poll(DEADLINE):
            raise TimeoutError("the trainer does not answer")
        answer: str = self._pipe.recv()
        return answer


def _work(url: str, folder: Path, interval: float, pipe: Connection) -> None:
    trainer = LargeTrainer(open_store(url, {}), folder)
    pipe.send(trainer.digest)
    try:
        while pipe.recv():
            while not pipe.poll(interval):
                trainer.publish()
            pipe.recv()
            pipe.send("ended")
    except EOFError:
        return
