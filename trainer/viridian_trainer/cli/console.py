"""What the commands share on the terminal: progress bars, tables, and failures as one sentence."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from viridian_trainer.errors import TaskError

console = Console()
errors = Console(stderr=True)


def explained[**P](command: Callable[P, None]) -> Callable[P, None]:
    """``command`` with failures shown as one sentence and the exit code of the contract."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except TaskError as error:
            errors.print(f"[bold red]{error.reason}[/]: {error.message}", highlight=False)
            raise typer.Exit(error.exit_code) from None

    return wrapped


@contextmanager
def bar(title: str, total: int | None) -> Iterator[tuple[Progress, Any]]:
    """A progress bar on standard error, with its task."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=errors) as progress:
        yield progress, progress.add_task(title, total=total)


def show(title: str, rows: Mapping[str, Any]) -> None:
    """A table of two columns."""
    table = Table(title=title, show_header=False, title_justify="left")
    for name, value in rows.items():
        table.add_row(name, f"{value:.4f}" if isinstance(value, float) else str(value))
    console.print(table)


class LoopBars:
    """Two bars on standard error: how far the champion has come in the log, and the training that runs."""

    def __init__(self) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._progress = Progress(*columns, console=errors)
        self._log = self._progress.add_task("log", total=None)
        self._training = self._progress.add_task("training", total=None)

    def __enter__(self) -> LoopBars:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def log(self, reached: int, total: int) -> None:
        """Entries that the champion covers, of all in the log."""
        self._progress.update(self._log, completed=reached, total=total)

    def training(self, done: int, total: int) -> None:
        """Events of the running training, of the entries of its window."""
        self._progress.update(self._training, completed=done, total=total)

    def say(self, line: str) -> None:
        """A line above the bars."""
        self._progress.console.print(line, highlight=False)
