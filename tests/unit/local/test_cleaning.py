"""Cleaning takes away what the cluster made, and nothing else."""

from pathlib import Path

from viridian_local.leftovers import is_shim, mounts_below
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
