"""Local ports that lead into the cluster, as ``kubectl port-forward`` makes them."""

from __future__ import annotations

import contextlib
import os
import queue
import re
import subprocess
import threading
from collections.abc import Iterator

from viridian_demo.commands import Tools

DEADLINE = 60.0


@contextlib.contextmanager
def forwarded(tools: Tools, namespace: str, target: str, port: int) -> Iterator[int]:
    """A local port that leads to ``port`` of ``target``, e.g. ``service/viridian-redis``."""
    command = [tools.kubectl_path, "port-forward", "-n", namespace, target, f":{port}"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, **tools.env}
    )
    try:
        yield _port(process, target)
    finally:
        process.terminate()
        process.wait(10)


def _port(process: subprocess.Popen[str], target: str) -> int:
    lines: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_read, args=(process, lines), daemon=True).start()
    try:
        line = lines.get(timeout=DEADLINE)
    except queue.Empty:
        raise AssertionError(f"port-forward to {target} did not come up within {DEADLINE:.0f} s") from None
    found = re.search(r"127\.0\.0\.1:(\d+)", line)
    assert found, f"port-forward to {target} said {line!r}"
    return int(found[1])


def _read(process: subprocess.Popen[str], lines: queue.Queue[str]) -> None:
    for line in process.stdout or ():
        lines.put(line)
    lines.put("(it ended)")
