"""Debian packages that the cluster needs, installed when their programs are missing."""

import os
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

from viridian_local.commands import follow, run
from viridian_local.errors import Problem
from viridian_local.progress import step

# A path is one file that must exist; a bare name is looked up on PATH, so that Docker's containerd serves as well.
CLUSTER = {
    "containerd": "containerd",
    "containerd-shim-runc-v2": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "ip": "iproute2",
    "openssl": "openssl",
}
IMAGES = {"buildah": "buildah", "skopeo": "skopeo", "mmdebstrap": "mmdebstrap", "gpg": "gpg"}


# What tests start by themselves: servers on ports of their own, processes whose clock jumps.
TESTS = {"redis-server": "redis-server", "faketime": "faketime"}
# Packages that start a server of the machine's own when they are installed, which nobody here asked for.
_SERVICES = ("containerd", "redis-server")


def missing(programs: dict[str, str]) -> list[str]:
    """The packages whose programs this machine lacks, each once, in order."""
    lacking = [package for program, package in programs.items() if not _present(program)]
    return list(dict.fromkeys(lacking))


def _present(program: str) -> bool:
    if program.startswith("/"):
        return Path(program).exists()
    # sbin is not on everybody's PATH, not even on root's after `su`.
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin") is not None


def ensure_packages(programs: dict[str, str]) -> None:
    """Install what is missing through apt; tell the exact command when apt cannot."""
    if lacking := missing(programs):
        install(lacking)
    if lacking := missing(programs):
        raise Problem(f"Still missing after installing: {', '.join(lacking)}.", "Install these packages by hand.")


def ensure_python_venv() -> None:
    """Debian ships Python's ``venv`` apart from Python; get it when virtual environments cannot be made."""
    if find_spec("ensurepip") is None:
        install([f"python3.{sys.version_info.minor}-venv"])


def install(names: list[str]) -> None:
    """``apt-get install`` the packages, or say what to run by hand."""
    by_hand = f"apt-get install --no-install-recommends {' '.join(names)}"
    if shutil.which("apt-get") is None:
        raise Problem(f"These programs are needed: {', '.join(names)}.", "Install them with your package manager.")
    if os.geteuid() != 0:
        raise Problem(f"Debian packages are missing: {', '.join(names)}.", f"As root, run: {by_hand}")
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    with step(f"Installing Debian packages: {', '.join(names)}") as running:
        try:
            # One broken third-party source makes `update` fail; only `install` tells whether that matters.
            follow(["sh", "-c", "apt-get update -q || true"], running, env=quiet)
            follow(["apt-get", "install", "-q", "-y", "--no-install-recommends", *names], running, env=quiet)
            for service in set(names).intersection(_SERVICES) if Path("/run/systemd/system").exists() else ():
                run(["systemctl", "disable", "--now", service], check=False)
        except Problem as error:
            raise Problem(str(error), f"\nTo see why, run as root: {by_hand}") from error
