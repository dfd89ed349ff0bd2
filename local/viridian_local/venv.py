"""The virtual environment of the checkout: Python 3.13 or 3.12 with every pinned dependency."""

import hashlib
import os
import shutil
from pathlib import Path

from viridian_local.commands import follow, run
from viridian_local.errors import Problem
from viridian_local.paths import CHECKOUT
from viridian_local.progress import step
from viridian_local.toolchain import uv_program

VERSIONS = ("3.13", "3.12")
_LOCK = CHECKOUT / "requirements" / "dev.txt"


def ensure() -> Path:
    """Make ``.venv``, or bring it up to date with the lock; return its Python."""
    home = CHECKOUT / ".venv"
    python = home / "bin" / "python"
    stamp = home / ".viridian-lock"
    wanted = hashlib.sha256(_LOCK.read_bytes() + (CHECKOUT / "pyproject.toml").read_bytes()).hexdigest()
    if python.exists() and stamp.exists() and stamp.read_text() == wanted:
        return python
    uv = uv_program()
    if not python.exists():
        _create(uv, home)
    with step("Installing the pinned dependencies (torch makes it 5 GB)") as running:
        install = [uv, "pip", "install", "--python", str(python)]
        follow([*install, "--require-hashes", "--no-deps", "-r", str(_LOCK)], running)
        follow([*install, "--no-deps", "--editable", str(CHECKOUT)], running)
    stamp.write_text(wanted)
    return python


def _create(uv: str, home: Path) -> None:
    with step("Making .venv"):
        found = _python()
        if found is None:
            # No Python that is new enough: uv brings one, where its download can be reached.
            done = run([uv, "venv", "--python", VERSIONS[0], "--clear", home], check=False)
            if done.returncode != 0:
                raise Problem(
                    f"No Python {' or '.join(VERSIONS)} is on PATH or below ~/.pyenv, and uv could not fetch one.",
                    "Install one (for example `pyenv install 3.13`) and try again.",
                )
            return
        run([uv, "venv", "--python", found, "--clear", home])


def _python() -> str | None:
    """The newest fitting Python of the machine that really starts: pyenv's shims exist for absent versions too."""
    for version in VERSIONS:
        pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
        installed = sorted(pyenv.glob(f"{version}.*/bin/python{version}"), reverse=True)
        for candidate in (*map(str, installed), shutil.which(f"python{version}")):
            if candidate and run([candidate, "-c", "import venv"], check=False).returncode == 0:
                return candidate
    return None
