"""Where everything lives: the checkout, the cache that outlives clusters, and the state of the one cluster."""

import os
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]


def cache_dir() -> Path:
    """Folder for what is dear to make and good for every checkout: binaries, base images, archives."""
    if chosen := os.environ.get("VIRIDIAN_CACHE"):
        return Path(chosen)
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "viridian"


@dataclass(frozen=True)
class Paths:
    """Folders of one cluster; ``state`` survives a reboot, ``run`` holds sockets, pids and the owner record."""

    state: Path
    run: Path

    @classmethod
    def from_environment(cls) -> "Paths":
        """Read ``VIRIDIAN_STATE``; the run folder is fixed, since one machine holds one cluster."""
        state = Path(os.environ.get("VIRIDIAN_STATE") or "/var/lib/viridian-local")
        return cls(state=state.absolute(), run=Path("/run/viridian-local"))

    @property
    def kubeconfig(self) -> Path:
        return self.state / "kubeconfig"

    @property
    def pki(self) -> Path:
        return self.state / "pki"

    @property
    def config(self) -> Path:
        return self.state / "config"

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def kubelet(self) -> Path:
        return self.state / "kubelet"

    @property
    def containerd(self) -> Path:
        return self.state / "containerd"

    @property
    def pids(self) -> Path:
        return self.run / "pids"

    @property
    def socket(self) -> Path:
        return self.run / "containerd" / "containerd.sock"

    @property
    def record(self) -> Path:
        """The owner record: who started the cluster, from which checkout, and whether the start was finished."""
        return self.run / "cluster.json"
