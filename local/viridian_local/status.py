"""What runs, how big it is, and whether it works."""

from collections import Counter
from typing import Any

from viridian_local import addresses as at
from viridian_local import kubectl, processes, record, tools
from viridian_local.components import Component, components
from viridian_local.paths import Paths


def report(paths: Paths) -> bool:
    """Print components, node and pods; return whether the cluster works."""
    known = record.read(paths)
    if not known:
        print("No cluster is running.")
        return False
    print(f"Cluster of {known['checkout']}, state in {known['state']}")
    if not known.get("ready"):
        print("Its start was not finished; `up` cleans up and starts anew.")
    healthy = [_component(paths, one) for one in components(paths, tools.KUBERNETES.bin_dir())]
    if not all(healthy):
        return False
    print(f"\n{_node(kubectl.get(paths, 'node', at.NODE))}")
    print(_pods(kubectl.get(paths, "pods", "-A")))
    print(f"KUBECONFIG={paths.kubeconfig}")
    return bool(known.get("ready"))


def _component(paths: Paths, component: Component) -> bool:
    pid = processes.alive(paths.pids, component.name)
    serving = bool(pid) and component.ready()
    word = "serving" if serving else "not ready" if pid else "dead"
    size = f"{processes.resident_bytes(pid) / 2**20:5.0f} MB" if pid else "       -"
    print(f"  {component.name:<24} {pid or '-':>8} {size}  {word}")
    return serving


def _node(node: dict[str, Any] | None) -> str:
    if node is None:
        return "The node has not registered."
    ready = next((one["status"] for one in node["status"]["conditions"] if one["type"] == "Ready"), "Unknown")
    sizes = sorted(node["status"]["allocatable"].items())
    capacity = ", ".join(f"{key} {value}" for key, value in sizes if value != "0")
    return f"Node {node['metadata']['name']}: Ready={ready}; {capacity}"


def _pods(pods: dict[str, Any]) -> str:
    phases = Counter(pod["status"].get("phase", "Unknown") for pod in pods["items"])
    shown = ", ".join(f"{number} {phase}" for phase, number in sorted(phases.items())) or "none"
    return f"Pods: {shown}"
