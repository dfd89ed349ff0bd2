"""Which images there are and what decides the content of each."""

import hashlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from viridian_local import addresses as at
from viridian_local import base, packages, tools
from viridian_local.paths import CHECKOUT

_IGNORED = {"__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache"}


@dataclass(frozen=True)
class Image:
    """One image: its Containerfile, the files of the checkout it copies, its base, programs of this machine."""

    name: str
    containerfile: str
    files: tuple[str, ...] = ()
    root: str = ""  # folder of the checkout that the Containerfile's paths start from
    base: str = ""
    programs: dict[str, Callable[[], Path]] = field(default_factory=dict)

    def key(self) -> str:
        """Hash of all that goes into the image: equal keys mean equal images."""
        digest = hashlib.sha256()
        for path in (self.containerfile, *self.sources()):
            digest.update(f"{path}\0".encode() + (CHECKOUT / path).read_bytes() + b"\0")
        for name, program in sorted(self.programs.items()):
            digest.update(f"{name}\0".encode() + hashlib.sha256(program().read_bytes()).digest())
        digest.update(base.key(self.base).encode() if self.base else b"")
        return digest.hexdigest()[:16]

    def sources(self) -> list[str]:
        """Every file of the checkout that goes into the build, sorted."""
        return sorted({str(path.relative_to(CHECKOUT)) for name in self.files for path in _walk(CHECKOUT / name)})

    def fill(self, context: Path) -> None:
        """Copy into ``context`` exactly what the key covers, so that nothing else can get into the image."""
        for path in self.sources():
            target = context / Path(path).relative_to(self.root)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(CHECKOUT / path, target)
        for name, program in self.programs.items():
            shutil.copy(program(), context / name)
        shutil.copyfile(CHECKOUT / self.containerfile, context / "Containerfile")

    def references(self) -> list[str]:
        """The names under which pods can ask for the image: by content, and the one that moves."""
        return [f"{at.REPOSITORY}/{self.name}:{self.key()}", f"{at.REPOSITORY}/{self.name}:dev"]


def _walk(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
    for entry in sorted(path.iterdir()) if path.is_dir() else ():
        if entry.name not in _IGNORED and entry.suffix not in {".pyc", ".dockerignore"}:
            yield from _walk(entry)


def _coredns() -> Path:
    return tools.ensure(tools.COREDNS) / "coredns"


def _catatonit() -> Path:
    packages.ensure_packages({"/usr/bin/catatonit": "catatonit"})
    return Path("/usr/bin/catatonit")


def _project(name: str, *folders: str, on: str) -> Image:
    files = ("pyproject.toml", "README.md", "LICENSE", f"requirements/{name}.txt", "requirements/build.txt")
    torch = ("requirements/torch.txt",) if on == "torch" else ()
    return Image(name, f"{name}/Containerfile", files=(*files, *torch, *folders), base=on)


def _local(name: str, *files: str, on: str = "", programs: dict[str, Callable[[], Path]] | None = None) -> Image:
    folder = f"local/images/{name}"
    sources = tuple(f"{folder}/{file}" for file in files)
    return Image(name, f"{folder}/Containerfile", files=sources, root=folder, base=on, programs=programs or {})


# What the cluster itself cannot do without.
SYSTEM = (
    _local("pause", programs={"catatonit": _catatonit}),
    _local("coredns", programs={"coredns": _coredns}),
)
# What demo and tests run on it.
PROJECT = (
    _local("redis", on="python"),
    _local("mlflow", "requirements.txt", on="python"),
    _project("operator", "operator/viridian_operator", on="python"),
    _project("trainer", "model/viridian_model", "trainer/viridian_trainer", on="torch"),
    _project("server", "model/viridian_model", "server/viridian_server", on="torch"),
)
# What the fault tests train and serve with: small, and started in no time.
LIGHT = "tests/faults/light"
TESTS = (Image("light", f"{LIGHT}/Containerfile", files=(LIGHT,), root=LIGHT, base="python"),)
ALL = {image.name: image for image in (*SYSTEM, *PROJECT, *TESTS)}
