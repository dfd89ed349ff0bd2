"""Services that somebody edits or deletes in the middle of an update are put right; one that is not there refuses."""

from __future__ import annotations

import ipaddress
import json
import socket
from typing import Any

import pytest
from loop.callers import LocalCaller
from loop.manifests import NAME

from faults.oracle import no_request_lost
from faults.world import World
from viridian_demo.commands import Tools
from viridian_local.addresses import SERVICE_CIDR


@pytest.mark.parametrize("change", ["selector", pytest.param("stripped", marks=pytest.mark.thorough)])
def test_the_selector_edited_in_the_bake_is_restored(world: World, change: str) -> None:
    world.settled()
    mark = world.update()
    green = world.phase(mark, "Baking")["active"]["hash"]
    blue = mark.status["active"]["hash"]
    selector = {"viridian.dev/revision": blue} if change == "selector" else {"viridian.dev/revision": None}
    world.space.kubectl("patch", "service", NAME, "--type=merge", "-p", json.dumps({"spec": {"selector": selector}}))
    assert world.ended(mark)["phase"] == "Succeeded"
    assert world.watchman().selected == green
    no_request_lost(world, mark)


@pytest.mark.thorough
@pytest.mark.parametrize("phase", ["Training", "Scaling", "Switching", "Baking"])
def test_the_active_service_is_deleted_and_comes_back(world: World, phase: str) -> None:
    """Calls in between are lost by the deletion itself, and the address is another one afterwards."""
    world.settled()
    mark = world.update()
    world.phase(mark, phase)
    uid = _service(world)["metadata"]["uid"]
    world.space.kubectl("delete", "service", NAME)
    made = world.timeline.wait(lambda: _other_than(world, uid), 30, "another Service")
    record = world.ended(mark)
    assert record["phase"] == "Succeeded", record["message"]
    assert world.watchman().selected == world.status()["active"]["hash"]
    assert world.load
    world.load.stop()
    address = f"{made['spec']['clusterIP']}:{made['spec']['ports'][0]['port']}"
    world.load = LocalCaller(address, world.space.name, world.folder / "golden.json")
    no_request_lost(world, world.mark())


@pytest.mark.cluster
def test_an_address_without_a_service_is_refused(tools: Tools) -> None:
    """Not by silence, and not answered by others: they would keep the connections of a Service that lost its pods."""
    unused = ipaddress.ip_network(SERVICE_CIDR)[-2]
    assert str(unused) not in tools.kubectl("get", "services", "--all-namespaces")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((str(unused), 80), timeout=5).close()


def _service(world: World) -> dict[str, Any]:
    return world.timeline.get("Service", NAME) or {}


def _other_than(world: World, uid: str) -> dict[str, Any]:
    found = _service(world)
    return found if found and found["metadata"]["uid"] != uid else {}
