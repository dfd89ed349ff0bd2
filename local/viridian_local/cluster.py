"""Starting, stopping and repairing the one cluster of this machine."""

import shutil
import time
from pathlib import Path

from viridian_local import addresses as at
from viridian_local import (
    catalogue,
    certificates,
    configuration,
    containers,
    dns,
    images,
    kubectl,
    leftovers,
    network,
    packages,
    preflight,
    processes,
    record,
    tools,
)
from viridian_local.cleaning import clean
from viridian_local.components import Component, components
from viridian_local.errors import Problem
from viridian_local.paths import Paths
from viridian_local.progress import step, write


def up(paths: Paths) -> None:
    """Start the cluster, or repair one that was started before; return when pods can run."""
    preflight.require_root()
    with record.alone(paths):
        known = record.read(paths)
        record.refuse_foreign(paths, known)
        if known.get("ready") and _repair(paths):
            record.announce(paths)
            return
        binaries = _prepare(paths)
        clean(paths, known)
        _begin(paths)
        _start(paths, binaries)
        _finish(paths)
        record.save(paths, {**record.read(paths), "ready": True})
        record.announce(paths)


def down(paths: Paths, *, purge: bool = False) -> None:
    """End exactly what ``up`` started; calling it again, or with nothing running, does no harm."""
    preflight.require_root()
    with record.alone(paths):
        known = record.read(paths)
        record.refuse_foreign(paths, known)
        with step("Stopping the cluster" if known else "Looking for what is left of a cluster"):
            clean(paths, known)
        if purge:
            shutil.rmtree(paths.state, ignore_errors=True)
    write("The cluster is stopped." if known else "No cluster is running.")


def is_ready(paths: Paths) -> bool:
    """Whether a start was finished and every component runs."""
    return bool(record.read(paths).get("ready")) and not _dead(paths)


def _dead(paths: Paths) -> list[Component]:
    everything = components(paths, tools.KUBERNETES.bin_dir())
    return [component for component in everything if not processes.alive(paths.pids, component.name)]


def _repair(paths: Paths) -> bool:
    """Start again what died in a finished cluster; false when nothing is left of it, as after a reboot."""
    dead = _dead(paths)
    everything = components(paths, tools.KUBERNETES.bin_dir())
    if len(dead) == len(everything):
        return False
    for component in dead:
        log = paths.logs / f"{component.name}.log"
        write(f"{component.name} has died and is started again; its last lines were:\n{processes.tail(log)}")
        processes.stop(paths.pids, component.name)
        _launch(paths, component)
    for component in everything:
        _await(paths, component)
    return True


def _prepare(paths: Paths) -> Path:
    """Everything that can fail for lack of something, before anything is started or ended."""
    preflight.require_space(paths)
    packages.ensure_packages(packages.CLUSTER)
    binaries = tools.ensure(tools.KUBERNETES)
    images.build(catalogue.SYSTEM)
    return binaries


def _begin(paths: Paths) -> None:
    """Record who starts the cluster and what was there before, then make addresses, certificates and settings."""
    names = [component.name for component in components(paths, Path("/"))]
    record.save(paths, {"components": names, "settings": network.settings(), "ready": False})
    for folder in (paths.state, paths.logs, paths.containerd, paths.kubelet):
        preflight.writable(folder)
    network.create_bridge()
    network.apply_settings()
    network.allow_forwarding()
    network.refuse_unserved()
    leftovers.create_cgroups()
    preflight.refuse_taken_ports()
    certificates.create(paths.pki)
    configuration.write(paths)


def _start(paths: Paths, binaries: Path) -> None:
    for component in components(paths, binaries):
        _launch(paths, component)
        _await(paths, component)
        if component.name == "containerd":
            if containers.forget_all(paths):
                # Its own list of pods is read at its start only.
                processes.stop(paths.pids, component.name)
                _launch(paths, component)
                _await(paths, component)
            containers.forget_old_images(paths)
            images.load(paths, catalogue.SYSTEM)


def _launch(paths: Paths, component: Component) -> None:
    processes.start(paths.pids, paths.logs, component.name, component.command)


def _await(paths: Paths, component: Component) -> None:
    """Wait until the component serves; a component that ends, or takes too long, shows its last lines."""
    log = paths.logs / f"{component.name}.log"
    with step(component.name) as running:
        while not component.ready():
            if not processes.alive(paths.pids, component.name):
                raise Problem(f"{component.name} has ended; the last lines of {log}:\n{processes.tail(log)}")
            if running.elapsed > component.seconds:
                late = f"{component.name} did not become ready in {component.seconds:.0f} s"
                raise Problem(f"{late}; {log} ends with:\n{processes.tail(log)}")
            running.say("not ready yet")
            time.sleep(0.1)


def _finish(paths: Paths) -> None:
    """Install the name service, and wait for the node and for it."""
    kubectl.apply(paths, dns.objects())
    kubectl.await_condition(paths, f"node/{at.NODE}", "condition=Ready", seconds=120)
    kubectl.await_condition(paths, "-n=kube-system", "deployment/coredns", "condition=Available", seconds=120)
