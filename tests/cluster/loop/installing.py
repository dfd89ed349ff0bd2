"""The chart as a user installs it, with MLflow and Redis for trials."""

from __future__ import annotations

from viridian_demo.commands import ROOT, Tools
from viridian_demo.install import image

RELEASE = "viridian"
SYSTEM = "viridian-system"
REGISTRY_URI = f"http://viridian-mlflow.{SYSTEM}:5000"
LOG_URL = f"redis://viridian-redis.{SYSTEM}:6379/0"
_PARTS = ("viridian", "viridian-mlflow", "viridian-redis")


def install(tools: Tools, *values: str) -> None:
    """Install or upgrade the release with further ``values`` and wait until everything is ready."""
    sets = [argument for value in (*_values(), *values) for argument in ("--set", value)]
    chart = str(ROOT / "charts" / "viridian")
    tools.helm("upgrade", "--install", RELEASE, chart, "-n", SYSTEM, "--create-namespace", *sets)
    wait_ready(tools)


def wait_ready(tools: Tools) -> None:
    """Wait until every Deployment of the release is rolled out."""
    for part in _PARTS:
        tools.kubectl("rollout", "status", f"deployment/{part}", "-n", SYSTEM, "--timeout=300s")


def _values() -> list[str]:
    values = ["mlflow.enabled=true", "redis.enabled=true", *_image("image", "operator")]
    for part in ("mlflow", "redis"):
        values += _image(f"{part}.image", part)
    return values


def _image(value: str, name: str) -> list[str]:
    repository, _, tag = image(name).rpartition(":")
    return [f"{value}.repository={repository}", f"{value}.tag={tag}"]
