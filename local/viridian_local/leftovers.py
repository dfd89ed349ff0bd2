"""Ending what containers leave behind: processes, shims, mounts, control groups. Safe to call at any time."""

import contextlib
import os
import signal
import time
from pathlib import Path

from viridian_local import addresses as at
from viridian_local.commands import run
from viridian_local.paths import Paths, cache_dir
from viridian_local.processes import PROC, command_line, end

_CGROUPS = Path("/sys/fs/cgroup")


def cgroup_roots() -> list[Path]:
    """The folders of our control group: one for each controller in version 1, one in all in version 2."""
    if (_CGROUPS / "cgroup.controllers").exists():
        return [_CGROUPS / at.CGROUP]
    return [folder / at.CGROUP for folder in _CGROUPS.iterdir() if folder.is_dir() and not folder.is_symlink()]


def create_cgroups() -> None:
    """Make the group below which the kubelet puts every pod, so that `down` finds each process of each pod."""
    if (_CGROUPS / "cgroup.controllers").exists():
        wanted = (_CGROUPS / "cgroup.controllers").read_text().split()
        for name in wanted:
            with contextlib.suppress(OSError):
                (_CGROUPS / "cgroup.subtree_control").write_text(f"+{name}")
    for root in cgroup_roots():
        root.mkdir(exist_ok=True)
        _initialise_cpuset(root)
        weigh(root)


def _initialise_cpuset(root: Path) -> None:
    """A new group of cgroup version 1 has no processors and no memory nodes and refuses processes until it has."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        own = root / name
        with contextlib.suppress(OSError):
            if own.exists() and not own.read_text().strip():
                own.write_text((root.parent / name).read_text())


def weigh(root: Path) -> None:
    """Let all pods below ``root`` together weigh as much as two busy threads for each processor.

    The kubelet's groups are weighed by the number of processors, but only within this one, which by itself would count
    like a single thread beside etcd, the API server and everything else on the machine: pods would get next to nothing
    as soon as it is busy, unlike on a node, where the group of the pods stands beside one of all services.
    """
    threads = 2 * (os.cpu_count() or 1)
    for name, one_thread, most in (("cpu.shares", 1024, 262144), ("cpu.weight", 100, 10000)):
        if (root / name).exists():
            (root / name).write_text(str(min(threads * one_thread, most)))


def kill_containers(seconds: float = 15) -> int:
    """Kill every process in our control groups; return how many there were."""
    killed: set[int] = set()
    deadline = time.monotonic() + seconds
    while pids := _members():
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        killed |= pids
        if time.monotonic() > deadline:
            break
        time.sleep(0.1)
    return len(killed)


def _members() -> set[int]:
    found: set[int] = set()
    for root in cgroup_roots():
        # Groups vanish while they are walked through, which os.walk bears.
        for folder, _, _ in os.walk(root):
            with contextlib.suppress(OSError):
                found |= {int(pid) for pid in Path(folder, "cgroup.procs").read_text().split()}
    return {pid for pid in found if pid != os.getpid() and command_line(pid)}


def remove_cgroups() -> None:
    """Remove our control groups, the deepest first."""
    for root in cgroup_roots():
        for folder, _, _ in os.walk(root, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(folder)


def end_shims(paths: Paths) -> int:
    """End the shims of our containerd, known by our socket among their arguments; return how many there were."""
    shims = {pid: command for pid, command in _processes().items() if is_shim(command, paths)}
    for pid, command in shims.items():
        end(pid, command, patience=2)
    return len(shims)


def is_shim(command: list[str], paths: Paths) -> bool:
    """Whether a command line is that of a shim of our containerd and of nobody else's."""
    return bool(command) and "containerd-shim" in command[0] and str(paths.socket) in command


def _processes() -> dict[int, list[str]]:
    pids = [int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit()]
    return {pid: command_line(pid) for pid in pids}


def unmount(paths: Paths) -> int:
    """Unmount what lies below our folders and what builds left mounted, the latest first; return how many."""
    points = mounts_below((PROC / "self" / "mountinfo").read_text(), (paths.state, paths.run, cache_dir() / "buildah"))
    for point in points:
        if run(["umount", point], check=False).returncode != 0:
            run(["umount", "--lazy", point], check=False)
    return len(points)


def mounts_below(mountinfo: str, folders: tuple[Path, ...]) -> list[str]:
    """Mount points below ``folders``, the latest first, from the text of ``/proc/self/mountinfo``."""
    points = [line.split()[4].replace("\\040", " ") for line in mountinfo.splitlines()]
    prefixes = tuple(f"{folder}/" for folder in folders)
    return [point for point in reversed(points) if point.startswith(prefixes)]
