"""What ``viridian-trainer`` tells of versions, from the registry and event log of the release."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from loop.appending import PARTITIONS
from loop.forwarding import forwarded
from loop.installing import LOG_URL, REGISTRY_URI, SYSTEM
from loop.manifests import pod, variable
from loop.space import Space
from loop.waiting import until
from viridian_demo.commands import run
from viridian_demo.install import image


def inspected(space: Space, version: str) -> str:
    """What it prints of a version's lineage, from outside of the cluster; it fails if the log contradicts it."""
    with (
        forwarded(space.tools, SYSTEM, "service/viridian-redis", 6379) as redis,
        forwarded(space.tools, SYSTEM, "service/viridian-mlflow", 5000) as registry,
    ):
        where = _where(space, f"http://127.0.0.1:{registry}", f"redis://127.0.0.1:{redis}/0")
        return run(sys.executable, "-m", "viridian_trainer", "inspect", version, *where, env={"TERM": "dumb"})


def repeated(space: Space, versions: Sequence[str]) -> str:
    """Train versions again, each from its parent, and compare bit for bit; returns what is printed.

    In a pod with the image that trained them: other builds of torch round in other ways.
    """
    where = _where(space, REGISTRY_URI, LOG_URL)
    script = 'for version in $VERSIONS; do python -m viridian_trainer replay "$version" "$@" || exit 1; done'
    container = {
        "name": "trainer",
        "image": image("trainer"),
        "command": ["sh", "-c", script, "sh", *where],
        "env": [variable("VERSIONS", " ".join(versions)), variable("TERM", "dumb")],
        "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "2Gi"}},
        "volumeMounts": [{"name": "scratch", "mountPath": "/tmp"}],
    }
    space.apply(pod("repeated", container, [{"name": "scratch", "emptyDir": {}}]))
    ended = until(lambda: _ended(space, "repeated"), 120 + 60 * len(versions), "versions are trained again")
    said = space.kubectl("logs", "repeated")
    assert ended == "Succeeded", said
    return said


def _ended(space: Space, name: str) -> str:
    phase: str = space.get("pod", name)["status"].get("phase", "")
    return phase if phase in ("Succeeded", "Failed") else ""


def _where(space: Space, registry: str, log: str) -> list[str]:
    source = json.dumps({"redisStream": {"url": log, "stream": space.name, "partitions": PARTITIONS}})
    return ["--model", space.name, "--registry", registry, "--source", source]
