"""The table at the end, and whether everything in it is as it should be."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rich.table import Table

from viridian_demo.screen import Screen


@dataclass
class Chapter:
    """One step of the story: what should happen, what did, and what the callers saw meanwhile."""

    title: str
    number: int
    expected: str
    history: dict[str, Any] = field(default_factory=dict)
    evaluation: dict[str, Any] = field(default_factory=dict)
    requests: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    facts: list[str] = field(default_factory=list)

    def check(self, holds: bool, problem: str) -> None:
        """Note a problem if something does not hold."""
        if not holds:
            self.problems.append(problem)


def show(screen: Screen, chapters: list[Chapter]) -> None:
    """Print the table."""
    table = Table(title="What happened", title_justify="left", show_lines=True)
    for column in ("step", "end", "version, digest", "verdict", "seconds per phase", "requests", "holds"):
        table.add_column(column, overflow="fold")
    for chapter in chapters:
        table.add_row(*_row(chapter))
    screen.console.print()
    screen.console.print(table)
    for chapter in chapters:
        for fact in chapter.facts:
            screen.console.print(f"  {chapter.title}: {fact}")
        for problem in chapter.problems:
            screen.console.print(f"  {chapter.title}: {problem}", style="red")


def _row(chapter: Chapter) -> tuple[str, ...]:
    history, evaluation = chapter.history, chapter.evaluation
    phases = "\n".join(f"{p['phase']} {p['seconds']:.1f}" for p in history.get("phases", []) if p["seconds"] >= 0.05)
    requests = "\n".join(f"{name} {count}" for name, count in chapter.requests.items())
    verdict = f"{evaluation.get('verdict', '-')}: {evaluation.get('message', '')}" if evaluation else "-"
    version = f"{history.get('version', '-')}\n{(history.get('digest') or '-')[:19]}"
    holds = "[red]no[/]" if chapter.problems else "[green]yes[/]"
    end = f"{history.get('phase', '-')}\n{history.get('reason', '')}"
    return chapter.title, end, version, verdict, phases, requests or "-", holds
