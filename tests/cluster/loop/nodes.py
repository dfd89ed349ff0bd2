"""Nodes that tests choose."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

from loop.waiting import until
from viridian_demo.commands import Tools


def schedulable(tools: Tools) -> str:
    """A node that takes any pod."""
    nodes = json.loads(tools.kubectl("get", "nodes", "-o", "json"))["items"]
    free = (
        node["metadata"]["name"]
        for node in nodes
        if not node["spec"].get("taints") and not node["spec"].get("unschedulable")
    )
    return str(next(free))


@contextmanager
def advertised(tools: Tools, resource: str) -> Iterator[str]:
    """A node that says it has one of an extended resource, as a device plug-in would make it."""
    name = schedulable(tools)
    _advertise(tools, name, resource, "1")
    try:
        until(lambda: _allocatable(tools, name, resource) == "1", 60, f"{name} has one {resource}")
        yield name
    finally:
        _advertise(tools, name, resource, None)


def _advertise(tools: Tools, node: str, resource: str, count: str | None) -> None:
    body = json.dumps({"status": {"capacity": {resource: count}, "allocatable": {resource: count}}})
    tools.kubectl("patch", "node", node, "--subresource=status", "--type=merge", "-p", body)


def _allocatable(tools: Tools, node: str, resource: str) -> str:
    found: str = json.loads(tools.kubectl("get", "node", node, "-o", "json"))["status"]["allocatable"].get(resource, "")
    return found
