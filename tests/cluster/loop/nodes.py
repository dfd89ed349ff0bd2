"""Nodes that tests choose."""

from __future__ import annotations

import json

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
