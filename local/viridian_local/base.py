"""Base images made of Debian packages alone, for machines that cannot reach a container registry."""

import hashlib

from viridian_local import buildah
from viridian_local.commands import follow
from viridian_local.packages import IMAGES, ensure_packages
from viridian_local.paths import cache_dir
from viridian_local.progress import step
from viridian_local.scratch import scratch

SUITE = "trixie"
_PYTHON = ("python3", "python3-venv", "ca-certificates")
PACKAGES = {
    "python": _PYTHON,
    "torch": (*_PYTHON, "python3-torch"),
}
_LEFT_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/include/*")


def key(name: str) -> str:
    """Hash of what decides the base; a newer Debian package alone does not change it."""
    return hashlib.sha256(repr((SUITE, PACKAGES[name], _LEFT_OUT)).encode()).hexdigest()[:12]


def ensure(name: str) -> str:
    """Make the base image unless buildah has it; return its name."""
    image = f"localhost/viridian-base-{name}:{key(name)}"
    if buildah.exists(image):
        return image
    ensure_packages(IMAGES)
    with step(f"Making the base image “{name}” from Debian packages (once)") as running, scratch(cache_dir()) as folder:
        excluded = [f"--dpkgopt=path-exclude={pattern}" for pattern in _LEFT_OUT]
        chosen = ["--variant=minbase", f"--include={','.join(PACKAGES[name])}", "--dpkgopt=force-unsafe-io", *excluded]
        follow(["mmdebstrap", *chosen, SUITE, str(folder / "base.tar")], running)
        (folder / "Containerfile").write_text("FROM scratch\nADD base.tar /\n")
        buildah.build(folder / "Containerfile", folder, image, {}, running)
    return image
