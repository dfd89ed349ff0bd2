"""Training that waits for a GPU, on a node that claims to have one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from loop.appending import Stream
from loop.following import Object
from loop.manifests import NAME, holder, model_update, plugins, trainer
from loop.nodes import advertised
from loop.serving import phases
from loop.space import Space
from viridian_demo.commands import Tools

GPU = "nvidia.com/gpu"
ONE = {"limits": {GPU: "1"}}


@pytest.fixture(scope="module")
def node_with_gpu(installed: Tools) -> Iterator[str]:
    with advertised(installed, GPU) as name:
        yield name


def test_training_waits_for_a_gpu_and_says_so(space: Space, stream: Stream, node_with_gpu: str) -> None:
    space.apply(holder(ONE))
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
