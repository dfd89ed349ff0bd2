"""What containerd remembers: containers of earlier clusters, and images."""

from viridian_local import addresses as at
from viridian_local.commands import run
from viridian_local.paths import Paths


def ctr(paths: Paths, *arguments: str) -> str:
    """Run containerd's own client in Kubernetes' namespace."""
    return run(["ctr", "-a", paths.socket, "-n", "k8s.io", *arguments], timeout=120).stdout


def forget_all(paths: Paths) -> int:
    """Forget the containers of an earlier cluster, whose processes are long gone; return how many there were."""
    names = ctr(paths, "containers", "list", "--quiet").split()
    if names:
        ctr(paths, "containers", "delete", *names)
    return len(names)


def forget_old_images(paths: Paths) -> None:
    """Drop the names by content, which grow with each change of code; what ``:dev`` names stays with its layers."""
    ours = [name for name in image_digests(paths) if name.startswith(f"{at.REPOSITORY}/") and not name.endswith(":dev")]
    if ours:
        ctr(paths, "images", "delete", *ours)


def image_digests(paths: Paths) -> dict[str, str]:
    """The images that containerd has: name → digest."""
    rows = [line.split() for line in ctr(paths, "images", "list").splitlines()[1:]]
    return {row[0]: row[2] for row in rows if len(row) > 2}
