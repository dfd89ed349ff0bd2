"""Building images from Containerfiles with buildah, into a storage of our own in the cache."""

import functools
import itertools
from pathlib import Path

from viridian_local.commands import follow, run
from viridian_local.errors import Problem
from viridian_local.oci import layout
from viridian_local.packages import IMAGES, ensure_packages
from viridian_local.paths import cache_dir
from viridian_local.progress import Step

# Needed inside builds on machines whose packages come through a proxy or a mirror; ordinary machines have neither.
_HOST_SETTINGS = ("/etc/ssl/certs", "/etc/pip.conf")


@functools.cache
def _program() -> list[str]:
    """buildah with our storage: overlay where the file system bears it, else the slow but certain vfs."""
    ensure_packages(IMAGES)
    reason = ""
    for driver in ("overlay", "vfs"):
        storage = cache_dir() / "buildah" / driver
        command = ["buildah", "--storage-driver", driver, "--root", str(storage)]
        command += ["--runroot", f"/run/viridian-local-build/{driver}"]
        storage.mkdir(parents=True, exist_ok=True)
        tried = run([*command, "images", "--quiet"], check=False)
        if tried.returncode == 0:
            return command
        reason = tried.stderr.strip().splitlines()[-1] if tried.stderr.strip() else reason
    raise Problem(f"buildah cannot store images below {cache_dir()}: {reason}.", "Choose another VIRIDIAN_CACHE.")


def exists(image: str) -> bool:
    """Whether the storage holds the image."""
    return run([*_program(), "inspect", "--type", "image", image], check=False).returncode == 0


def build(containerfile: Path, context: Path, image: str, arguments: dict[str, str], step: Step) -> None:
    """Build ``image``; layers whose instructions and files are unchanged come from earlier builds."""
    command = [*_program(), "build", "--isolation", "chroot", "--layers", "--format", "oci", "--pull-never"]
    for host in _HOST_SETTINGS:
        if Path(host).exists():
            command += ["--volume", f"{host}:{host}:ro"]
    for name, value in arguments.items():
        command += ["--build-arg", f"{name}={value}"]
    follow([*command, "--tag", image, "--file", str(containerfile), str(context)], step)


def push(image: str, tag: str, step: Step) -> None:
    """Copy the image into the OCI layout of the cache; layers that are there already are not copied again."""
    layout().mkdir(parents=True, exist_ok=True)
    storage = {name: value for name, value in itertools.pairwise(_program()) if name.startswith("--")}
    source = f"[{storage['--storage-driver']}@{storage['--root']}+{storage['--runroot']}]{image}"
    # Not `buildah push`: it compresses every layer anew each time, the base of more than a gigabyte included.
    how = ("--quiet", "--format", "oci", "--dest-oci-accept-uncompressed-layers")
    command = ["skopeo", "copy", *how, f"containers-storage:{source}", f"oci:{layout()}:{tag}"]
    follow(command, step, describe=lambda *_: "copying layers")


def forget_failures() -> None:
    """Remove the working containers of builds that failed or were killed; the caller holds the cluster's lock."""
    run([*_program(), "rm", "--all"], check=False)
