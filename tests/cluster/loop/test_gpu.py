"""Training that waits for a GPU, on a node that claims to have one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from loop.appending import Stream
from loop.following import Object
from loop.manifests import NAME, model_update, plugins, pod, trainer
from loop.nodes import schedulable
from loop.serving import phases
from loop.space import Space
from loop.waiting import until
from viridian_demo.commands import Tools
from viridian_demo.install import image

GPU = "nvidia.com/gpu"
ONE = {"limits": {GPU: "1"}}


@pytest.fixture(scope="module")
def node_with_gpu(installed: Tools) -> Iterator[str]:
    """A node that says it has one GPU, as a device plug-in would make it."""
    name = schedulable(installed)
    _advertise(installed, name, {GPU: "1"})
    until(lambda: _allocatable(installed, name) == "1", 60, f"{name} has a GPU")
    yield name
    _advertise(installed, name, {GPU: None})


def test_training_waits_for_a_gpu_and_says_so(space: Space, stream: Stream, node_with_gpu: str) -> None:
    program = "import signal; signal.pause()"
    container = {"name": "holder", "image": image("operator"), "command": ["python3", "-c", program], "resources": ONE}
    space.apply(pod("holder", container))
    space.wait_for("pod/holder", "condition=Ready", 60)
    stream.append(2000)
    space.apply(plugins(), model_update(space.name, training={"template": trainer(resources=ONE)}))
    with space.follow(NAME) as following:
        waiting = following.wait(_waits_for_gpu, 60, "it waits for the GPU and says so")
        assert waiting["status"]["phase"] == "Queued"
        space.kubectl("delete", "pod", "holder", "--grace-period=1", "--wait=false")
        trained = following.wait(lambda state: "candidate" in _update(state), 180, "it trains")
        assert phases(_update(trained)) == ["Queued", "Training"]


def _waits_for_gpu(state: Object) -> bool:
    return GPU in (state.get("status") or {}).get("message", "")


def _update(state: Object) -> dict[str, Any]:
    return (state.get("status") or {}).get("update") or {}


def _advertise(tools: Tools, node: str, resources: dict[str, str | None]) -> None:
    body = json.dumps({"status": {"capacity": resources, "allocatable": resources}})
    tools.kubectl("patch", "node", node, "--subresource=status", "--type=merge", "-p", body)


def _allocatable(tools: Tools, node: str) -> str | None:
    found = json.loads(tools.kubectl("get", "node", node, "-o", "json"))
    value: str | None = found["status"]["allocatable"].get(GPU)
    return value
