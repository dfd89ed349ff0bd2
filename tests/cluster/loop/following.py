"""Objects followed through ``kubectl get --watch``: every state is seen, none is polled for."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Callable
from typing import Any

from viridian_demo.commands import Tools

Object = dict[str, Any]


class Following:
    """All states of the objects that ``arguments`` of ``kubectl get`` select, until it is closed."""

    def __init__(self, tools: Tools, *arguments: str) -> None:
        self._command = [tools.kubectl_path, "get", *arguments, "--watch", "-o", "json"]
        self._env = {**os.environ, **tools.env}
        self._news = threading.Condition()
        self._closed = False
        self.states: list[Object] = []
        self._process = self._start()
        threading.Thread(target=self._follow, daemon=True).start()

    def __enter__(self) -> Following:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def wait(self, condition: Callable[[Object], bool], seconds: float, what: str) -> Object:
        """The newest state once ``condition`` holds for it; fails with its message after ``seconds``."""

        def holds() -> bool:
            return bool(self.states) and condition(self.states[-1])

        with self._news:
            assert self._news.wait_for(holds, seconds), f"{what}: not within {seconds:.0f} s; {self._last()}"
            return self.states[-1]

    def close(self) -> None:
        """Stop following."""
        self._closed = True
        self._process.terminate()
        self._process.wait(10)

    def _last(self) -> str:
        if not self.states:
            return "nothing was seen"
        status = self.states[-1].get("status") or {}
        update = status.get("update") or {}
        return f"phase {status.get('phase')}, update {update.get('number')}: {status.get('message')}"

    def _start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True, env=self._env)

    def _follow(self) -> None:
        while not self._closed:
            self._read(self._process)
            if not self._closed:  # the API server ends long watches
                self._process.wait()
                self._process = self._start()

    def _read(self, process: subprocess.Popen[str]) -> None:
        text = ""
        for line in process.stdout or ():
            text += line
            if line.startswith("}"):
                with self._news:
                    self.states.append(json.loads(text))
                    self._news.notify_all()
                text = ""
