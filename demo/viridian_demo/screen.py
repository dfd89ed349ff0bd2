"""What the demo writes: every line with the time since its start."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

#: columns that the table of results needs; a log file has no width of its own
WIDTH = 140


class Screen:
    """The terminal."""

    def __init__(self) -> None:
        self.console = Console(highlight=False, soft_wrap=True)
        if not self.console.is_terminal:
            self.console.width = WIDTH
        self._begun = time.monotonic()

    def say(self, text: str, style: str = "") -> None:
        """One line."""
        seconds = int(time.monotonic() - self._begun)
        self.console.print(f"[dim]{seconds // 60:3d}:{seconds % 60:02d}[/]  {text}", style=style)

    def title(self, text: str) -> None:
        """A headline."""
        self.console.print()
        self.say(f"[bold]{text}[/]")

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        """Something that takes a while: said before and after."""
        self.say(f"{text} …")
        begun = time.monotonic()
        yield
        self.say(f"{text}: done in {time.monotonic() - begun:.1f} s", style="green")
