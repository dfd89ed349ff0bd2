"""Nodes and their agents: a kubelet that is stopped, evictions that a disruption budget blocks."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from faults.manifests import REPLICAS
from faults.oracle import succeeded, unharmed
from faults.world import World
from viridian_demo.commands import CommandFailed
from viridian_local import processes
from viridian_local.paths import Paths
from viridian_operator.api.names import REVISION

#: shorter than the 40 s after which the node would count as lost, and with it the only node's pods
STOPPED = 20.0


@contextmanager
def kubelet_stopped() -> Iterator[None]:
    """The kubelet of the local cluster does nothing for a while; its containers go on."""
    pid = processes.alive(Paths.from_environment().pids, "kubelet")
    if not pid:
        pytest.skip("only the local cluster's kubelet may be stopped")
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.thorough
@pytest.mark.parametrize("phase", ["Training", "Preparing", "Scaling", "Switching", "Baking"])
def test_a_kubelet_that_is_stopped_is_waited_for(world: World, phase: str) -> None:
    world.settled()
    mark = world.update()
    world.phase(mark, phase)
    with kubelet_stopped():
        # the length is what is tested
        world.proxy.gone.wait(STOPPED)
    succeeded(world, mark)


@pytest.mark.thorough
@pytest.mark.parametrize("phase", ["Scaling", "Baking"])
def test_a_drain_in_an_update_takes_one_pod_at_a_time(world: World, phase: str) -> None:
    world.settled()
    mark = world.update()
    status = world.phase(mark, phase)
    pods = [pod["metadata"]["name"] for pod in world.timeline.list("Pod", **{REVISION: status["active"]["hash"]})]
    assert len(pods) >= REPLICAS
    with ThreadPoolExecutor(len(pods)) as pool:
        evicted = list(pool.map(lambda pod: _evict(world, pod), pods))
    assert 1 <= sum(evicted) < len(pods), "the budget of the revision allows some and blocks others"
    record = world.ended(mark)
    # a new version that loses pods in its bake may go back
    assert record["phase"] == "Succeeded" or (phase, record["phase"]) == ("Baking", "RolledBack"), record["message"]
    unharmed(world, mark)


def _evict(world: World, pod: str) -> bool:
    """Whether the API server allowed it."""
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": world.space.name}}
    path = f"/api/v1/namespaces/{world.space.name}/pods/{pod}/eviction"
    try:
        world.space.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(eviction))
    except CommandFailed as problem:
        if "disruption budget" not in str(problem):
            raise
        return False
    return True
