"""What ``viridian-trainer`` tells of a version, from the registry and event log of the release, from outside."""

from __future__ import annotations

import json
import sys
from typing import Literal

from loop.appending import PARTITIONS
from loop.forwarding import forwarded
from loop.installing import SYSTEM
from loop.space import Space
from viridian_demo.commands import run


def told_of(command: Literal["inspect", "replay"], space: Space, version: str) -> str:
    """What it prints; it fails if the log or the weights contradict the version."""
    with (
        forwarded(space.tools, SYSTEM, "service/viridian-redis", 6379) as redis,
        forwarded(space.tools, SYSTEM, "service/viridian-mlflow", 5000) as registry,
    ):
        stream = {"url": f"redis://127.0.0.1:{redis}/0", "stream": space.name, "partitions": PARTITIONS}
        arguments = [command, version, "--model", space.name, "--registry", f"http://127.0.0.1:{registry}"]
        source = json.dumps({"redisStream": stream})
        return run(sys.executable, "-m", "viridian_trainer", *arguments, "--source", source, env={"TERM": "dumb"})
