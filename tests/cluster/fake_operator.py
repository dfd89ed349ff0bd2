"""The operator's process with a pass that only notes that it ran; a program, started by the tests.

Notes go to the file that ``FAKE_NOTES`` names, one JSON object a line. ``FAKE_PASS_SECONDS`` makes passes slow,
``FAKE_WRITES`` makes each of them apply a ConfigMap.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time

from viridian_operator.kube.cluster import Cluster
from viridian_operator.kube.resources import Key
from viridian_operator.runtime.main import serve
from viridian_operator.runtime.settings import Settings, read_settings


def note(**fields: object) -> None:
    """Append one line at once, as several processes write the file."""
    line = json.dumps({"pid": os.getpid(), "time": time.time(), **fields}) + "\n"
    with open(os.environ["FAKE_NOTES"], "a", encoding="utf-8") as notes:
        notes.write(line)


def build(*, cluster: Cluster, settings: Settings, **_: object):
    """A pass that notes its key, waits, and notes its end."""
    seconds = float(os.environ.get("FAKE_PASS_SECONDS", "0"))

    async def reconcile(key: Key) -> float | None:
        note(what="begin", key=str(key))
        await asyncio.sleep(seconds)
        if os.environ.get("FAKE_WRITES"):
            metadata = {"namespace": key.namespace, "name": f"written-by-{os.getpid()}"}
            await cluster.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})
        note(what="end", key=str(key))
        return float(os.environ["FAKE_AFTER"]) if "FAKE_AFTER" in os.environ else None

    return reconcile


if __name__ == "__main__":
    sys.exit(asyncio.run(serve(read_settings({}, os.environ), build)))
