"""Cleaning takes away what the cluster made, and nothing else."""

import os
from pathlib import Path

import pytest

from viridian_local.leftovers import is_shim, mounts_below, weigh
from viridian_local.network import without_our_rules
from viridian_local.paths import Paths

PATHS = Paths(state=Path("/var/lib/viridian-local"), run=Path("/run/viridian-local"))

RULES = """*nat
:PREROUTING ACCEPT [0:0]
:DOCKER - [0:0]
:KUBE-SERVICES - [0:0]
:CNI-HOSTPORT-DNAT - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A PREROUTING -j DOCKER
-A FORWARD -i viridian0 -m comment --comment viridian-local -j ACCEPT
-A CNI-HOSTPORT-DNAT -p tcp -j CNI-DN-1
COMMIT
"""


def test_rules_of_others_stay() -> None:
    assert without_our_rules(RULES).splitlines() == [
        "*nat",
        ":PREROUTING ACCEPT [0:0]",
        ":DOCKER - [0:0]",
        "-A PREROUTING -j DOCKER",
        "COMMIT",
    ]


def test_mounts_are_found_below_our_folders_only_and_the_latest_first() -> None:
    info = """21 1 254:0 / / rw - ext4 /dev/vda rw
30 21 0:5 / /var/lib/viridian-local/kubelet/pods/a/volumes/token rw - tmpfs tmpfs rw
31 21 0:6 / /var/lib/viridian-local-not/x rw - tmpfs tmpfs rw
32 21 0:7 / /run/viridian-local/containerd/state/with\\040blank rw - overlay overlay rw
"""
    assert mounts_below(info, (PATHS.state, PATHS.run)) == [
        "/run/viridian-local/containerd/state/with blank",
        "/var/lib/viridian-local/kubelet/pods/a/volumes/token",
    ]


def test_only_shims_of_our_containerd_are_ours() -> None:
    shim = ["/usr/bin/containerd-shim-runc-v2", "-namespace", "k8s.io", "-address"]
    assert is_shim([*shim, "/run/viridian-local/containerd/containerd.sock"], PATHS)
    assert not is_shim([*shim, "/run/containerd/containerd.sock"], PATHS)
    assert not is_shim(["vim", "/run/viridian-local/containerd/containerd.sock"], PATHS)
    assert not is_shim([], PATHS)


@pytest.mark.parametrize(("name", "one_thread"), [("cpu.shares", 1024), ("cpu.weight", 100)])
def test_pods_are_not_outweighed_by_busy_threads_of_the_machine(tmp_path: Path, name: str, one_thread: int) -> None:
    (tmp_path / name).write_text(str(one_thread))  # what the system gives to a new group
    weigh(tmp_path)
    assert int((tmp_path / name).read_text()) > (os.cpu_count() or 1) * one_thread
    assert [each.name for each in tmp_path.iterdir()] == [name], "nothing that the system does not offer"
