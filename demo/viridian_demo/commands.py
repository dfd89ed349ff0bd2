"""kubectl, helm and the project's own commands, run as a person would run them."""

from __future__ import annotations

import json
import os
import queue
import re
import shutil
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
#: seconds in which a process that forwards a port says which
ANNOUNCEMENT = 30.0


class CommandFailed(Exception):
    """A command ended with an error; the text holds its last lines."""


def run(*command: str, stdin: str | None = None, env: dict[str, str] | None = None, show: bool = False) -> str:
    """Run a command and return what it printed.

    Parameters
    ----------
    show
        Let it write to the terminal, for commands that show progress of their own.

    Raises
    ------
    CommandFailed
        If it ends with another code than 0.
    """
    result = subprocess.run(
        command,
        input=stdin,
        text=True,
        stdout=None if show else subprocess.PIPE,
        stderr=None if show else subprocess.PIPE,
        env={**os.environ, **(env or {})},
        check=False,
    )
    if result.returncode != 0:
        last = "\n".join((result.stderr or result.stdout or "").strip().splitlines()[-5:])
        raise CommandFailed(f"{' '.join(command[:4])} … ended with code {result.returncode}: {last}")
    return result.stdout or ""


def announced_port(process: subprocess.Popen[str], what: str) -> int:
    """The port of 127.0.0.1 in the first line that a process writes.

    Raises
    ------
    CommandFailed
        If it names none in time.
    """
    lines: queue.Queue[str] = queue.Queue()
    stdout = process.stdout
    if stdout is None:
        raise CommandFailed(f"{what} has no output")

    def read() -> None:
        for line in stdout:
            lines.put(line)
        lines.put("nothing, and ended")

    threading.Thread(target=read, daemon=True).start()
    try:
        line = lines.get(timeout=ANNOUNCEMENT)
    except queue.Empty:
        raise CommandFailed(f"{what} did not come up") from None
    found = re.search(r"127\.0\.0\.1:(\d+)", line)
    if found is None:
        raise CommandFailed(f"{what} said {line!r}")
    return int(found[1])


def local(*arguments: str, show: bool = False) -> str:
    """The one-machine Kubernetes of this repository."""
    env = {"PYTHONPATH": str(ROOT / "local")}
    return run(sys.executable, "-m", "viridian_local", *arguments, env=env, show=show).strip()


@dataclass(frozen=True)
class Tools:
    """Where kubectl and helm are, and which cluster they talk to."""

    kubectl_path: str
    helm_path: str
    kubeconfig: str
    env: dict[str, str] = field(default_factory=dict)

    @classmethod
    def find(cls, kubeconfig: str, bindir: str | None) -> Tools:
        """Tools from the local cluster's cache, else from PATH.

        Raises
        ------
        CommandFailed
            If one is missing.
        """
        paths = {}
        for name in ("kubectl", "helm"):
            candidate = Path(bindir) / name if bindir else None
            found = str(candidate) if candidate and candidate.exists() else shutil.which(name)
            if found is None:
                raise CommandFailed(
                    f"{name} is not installed; install it, or unset KUBECONFIG to use the local cluster"
                )
            paths[name] = found
        return cls(paths["kubectl"], paths["helm"], kubeconfig, {"KUBECONFIG": kubeconfig})

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Run kubectl."""
        return run(self.kubectl_path, *arguments, stdin=stdin, env=self.env)

    def helm(self, *arguments: str) -> str:
        """Run helm."""
        return run(self.helm_path, *arguments, env=self.env)

    def get(self, kind: str, name: str, namespace: str) -> dict[str, Any]:
        """One object."""
        found: dict[str, Any] = json.loads(self.kubectl("get", kind, name, "-n", namespace, "-o", "json"))
        return found
