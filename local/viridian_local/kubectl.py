"""Talking to the API server through the kubectl that was built with it."""

import json
import time
from typing import Any

from viridian_local.commands import run
from viridian_local.errors import Problem
from viridian_local.paths import Paths
from viridian_local.progress import step
from viridian_local.tools import KUBERNETES


def kubectl(paths: Paths, *arguments: str, stdin: str | None = None, timeout: float = 60) -> str:
    """Run kubectl as the administrator and return its output."""
    program = KUBERNETES.bin_dir() / "kubectl"
    return run([program, f"--kubeconfig={paths.kubeconfig}", *arguments], stdin=stdin, timeout=timeout).stdout


def get(paths: Paths, *arguments: str) -> Any:
    """``kubectl get … -o json`` as data; nothing when the object is not there."""
    said = kubectl(paths, "get", *arguments, "-o", "json", "--ignore-not-found")
    return json.loads(said) if said.strip() else None


def apply(paths: Paths, objects: list[dict[str, Any]]) -> None:
    """Server-side apply under a field manager of our own."""
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    how = ("--server-side", "--field-manager=viridian-local", "--force-conflicts")
    kubectl(paths, "apply", *how, "-f", "-", stdin=text)


def advertise_gpus(paths: Paths, node: str, number: int) -> None:
    """Let the node claim ``number`` GPUs, for tests of scheduling; nothing can compute on them."""
    if number < 0:
        raise Problem(f"A node cannot have {number} GPUs.", "Give a number of 0 or more.")
    where = ("capacity", "allocatable")
    patch = [{"op": "add", "path": f"/status/{part}/nvidia.com~1gpu", "value": str(number)} for part in where]
    kubectl(paths, "patch", "node", node, "--subresource=status", "--type=json", "-p", json.dumps(patch))


def await_condition(paths: Paths, *what: str, seconds: int) -> None:
    """Wait for a condition of an object, such as ``node/x condition=Ready``; say what is missing when it stays away."""
    *target, condition = what
    with step(f"Waiting for {' '.join(target)} ({condition.partition('=')[2]})"):
        deadline = time.monotonic() + seconds
        while True:
            try:
                kubectl(paths, "wait", *target, f"--for={condition}", "--timeout=5s")
            except Problem as error:
                if time.monotonic() > deadline:
                    state = kubectl(paths, "get", "nodes,pods", "-A", "-o", "wide")
                    late = f"{' '.join(target)} is not {condition} after {seconds} s"
                    raise Problem(f"{late}: {error}\n{state}") from error
                time.sleep(0.2)
            else:
                return
