"""Follows a ModelUpdate and tells each change of phase as it happens."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Callable
from typing import Any

from viridian_demo.commands import CommandFailed, Tools
from viridian_demo.install import NAMESPACE
from viridian_demo.screen import Screen

Status = dict[str, Any]


class Watcher:
    """``kubectl get mu ctr --watch``, read by machine."""

    def __init__(self, tools: Tools, screen: Screen, name: str = "ctr") -> None:
        self._screen = screen
        # As a list: of a single object kubectl drops the first event, and with it what changed since its get.
        only = f"--field-selector=metadata.name={name}"
        command = [tools.kubectl_path, "get", "modelupdate", only, "-n", NAMESPACE, "--watch", "-o", "json"]
        env = {**os.environ, **tools.env}
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env)
        self._news = threading.Condition()
        self.status: Status = {}
        self._shown: tuple[Any, ...] = ()
        threading.Thread(target=self._follow, daemon=True).start()

    def _follow(self) -> None:
        decoder, text = json.JSONDecoder(), ""
        stdout = self._process.stdout
        while stdout and (part := stdout.readline()):
            text += part
            if not part.startswith("}"):
                continue
            found, _ = decoder.raw_decode(text)
            text = ""
            with self._news:
                self.status = found.get("status", {})
                self._tell()
                self._news.notify_all()

    def _tell(self) -> None:
        update = self.status.get("update") or {}
        place = (update.get("number"), update.get("phase"))
        if place == self._shown or not update:
            return
        self._shown = place
        candidate = (update.get("candidate") or {}).get("version")
        version = f" version {candidate}" if candidate else ""
        message = update.get("message", "")
        self._screen.say(f"update {place[0]} [cyan]{place[1]}[/]{version}  [dim]{message}[/]")

    def wait(self, condition: Callable[[Status], bool], seconds: float, what: str) -> Status:
        """The first status for which ``condition`` holds.

        Raises
        ------
        CommandFailed
            If there is none in time; the text holds the present message.
        """
        with self._news:
            if not self._news.wait_for(lambda: bool(self.status) and condition(self.status), seconds):
                raise CommandFailed(f"{what} did not happen within {seconds:.0f} s: {self.status.get('message')}")
            return self.status

    def ended(self, number: int, seconds: float) -> Status:
        """Status after the end of update ``number``."""

        def over(status: Status) -> bool:
            return any(entry["number"] == number for entry in status.get("history", []))

        return self.wait(over, seconds, f"the end of update {number}")

    def close(self) -> None:
        """Stop following."""
        self._process.terminate()
        self._process.wait(10)
