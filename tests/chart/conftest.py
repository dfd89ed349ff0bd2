"""Helm, as users have it: every major version that can be found."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts/viridian"
NAMESPACE = "viridian-system"

Manifest = dict[str, Any]


def _binaries() -> dict[str, str]:
    """``helm`` and ``helm3`` of ``VIRIDIAN_BIN_DIR`` (or the local cluster's cache) and of the search path."""
    folder = os.environ.get("VIRIDIAN_BIN_DIR")
    if folder is None:
        asked = subprocess.run([sys.executable, "-m", "viridian_local", "bindir"], capture_output=True, text=True)
        folder = asked.stdout.strip()
    path = os.pathsep.join(filter(None, [folder, os.environ["PATH"]]))
    found = {name: shutil.which(name, path=path) for name in ("helm", "helm3")}
    return {name: binary for name, binary in found.items() if binary}


@dataclass(frozen=True)
class Helm:
    """One Helm binary."""

    binary: str

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Whatever comes of it."""
        return subprocess.run([self.binary, *arguments], capture_output=True, text=True, timeout=60)

    def template(self, *arguments: str) -> list[Manifest]:
        """The rendered objects."""
        done = self.run("template", "viridian", str(CHART), "--namespace", NAMESPACE, *arguments)
        assert done.returncode == 0, done.stderr
        return [document for document in yaml.safe_load_all(done.stdout) if document]


BINARIES = _binaries()


@pytest.fixture(scope="session", params=sorted(BINARIES) or ["helm"])
def helm(request: pytest.FixtureRequest) -> Helm:
    """Each Helm that there is."""
    if not BINARIES:
        pytest.skip("no helm on PATH or in VIRIDIAN_BIN_DIR")
    return Helm(BINARIES[request.param])


Render = Callable[..., list[Manifest]]


@pytest.fixture(scope="session")
def render(helm: Helm) -> Render:
    """Renders with ``--set`` values and files; equal calls render once."""
    cache: dict[tuple[str, ...], list[Manifest]] = {}

    def rendered(*arguments: str) -> list[Manifest]:
        if arguments not in cache:
            cache[arguments] = helm.template(*arguments)
        return cache[arguments]

    return rendered


def values_files() -> list[Path]:
    """Combinations of values that the chart is tried with."""
    return sorted((CHART / "ci").glob("*-values.yaml"))
