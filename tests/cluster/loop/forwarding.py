"""Local ports that lead into the cluster, as ``kubectl port-forward`` makes them."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator

from viridian_demo.commands import Tools, announced_port


@contextlib.contextmanager
def forwarded(tools: Tools, namespace: str, target: str, port: int) -> Iterator[int]:
    """A local port that leads to ``port`` of ``target``, e.g. ``service/viridian-redis``."""
    command = [tools.kubectl_path, "port-forward", "-n", namespace, target, f":{port}"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, **tools.env}
    )
    try:
        yield announced_port(process, f"kubectl port-forward to {target}")
    finally:
        process.terminate()
        process.wait(10)
