"""Undoing a start, whatever point it had reached."""

import shutil
from pathlib import Path
from typing import Any

from viridian_local import leftovers, network, processes
from viridian_local.paths import Paths

# The kubelet goes early, or it would start again what is ended; containerd goes last, since shims report to it.
_BEFORE_CONTAINERS = ("kube-proxy", "kubelet", "kube-scheduler", "kube-controller-manager")
_AFTER_CONTAINERS = ("kube-apiserver", "etcd")


def clean(paths: Paths, record: dict[str, Any]) -> None:
    """Remove all that the start on ``record`` made, except images: the next cluster needs them again."""
    old = Paths(state=Path(record.get("state", paths.state)), run=paths.run)
    for name in _BEFORE_CONTAINERS:
        processes.stop(paths.pids, name)
    leftovers.kill_containers()
    for name in _AFTER_CONTAINERS:
        processes.stop(paths.pids, name)
    leftovers.end_shims(old)
    processes.stop(paths.pids, "containerd")
    # A pod that was being started while the others were killed.
    leftovers.kill_containers()
    leftovers.end_shims(old)
    leftovers.unmount(old)
    leftovers.remove_cgroups()
    network.remove_bridge()
    network.remove_rules()
    network.restore_settings(record.get("settings", {}))
    _remove_files(old)


def _remove_files(paths: Paths) -> None:
    """Remove the objects, certificates and logs of the cluster, and all of the run folder but the lock."""
    for folder in (paths.kubelet, paths.state / "etcd", paths.state / "pod-logs", paths.logs, paths.pki, paths.config):
        shutil.rmtree(folder, ignore_errors=True)
    paths.kubeconfig.unlink(missing_ok=True)
    for entry in paths.run.iterdir() if paths.run.exists() else ():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        elif entry.name != "lock":
            entry.unlink(missing_ok=True)
