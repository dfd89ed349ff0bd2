"""From an empty machine, or a cluster of one's own, to an installed Viridian."""

from __future__ import annotations

import functools
import os
from importlib.resources import files

from viridian_demo.commands import ROOT, Tools, local
from viridian_demo.screen import Screen

NAMESPACE = "recsys"
SYSTEM = "viridian-system"


def image(name: str) -> str:
    """Image of a part; a registry of one's own is named by ``VIRIDIAN_IMAGES`` and ``VIRIDIAN_TAG``.

    Local images go by their content, so that what serves is never replaced under a tag that moves.
    """
    if registry := os.environ.get("VIRIDIAN_IMAGES"):
        return f"{registry}/{name}:{os.environ.get('VIRIDIAN_TAG', 'latest')}"
    return _local_images()[name]


@functools.cache
def _local_images() -> dict[str, str]:
    """Images of the local cluster by name, built if they are not."""
    references = [line for line in local("images").splitlines() if line.startswith("viridian.local/")]
    return {line.removeprefix("viridian.local/").partition(":")[0]: line for line in references}


def cluster(screen: Screen) -> tuple[Tools, bool]:
    """Tools for the cluster of ``KUBECONFIG``, else for the local one, which is started if need be.

    Returns the tools and whether the cluster is the local one.
    """
    if own := os.environ.get("KUBECONFIG"):
        screen.say(f"using the cluster of KUBECONFIG={own}")
        return Tools.find(own, None), False
    with screen.step("one-machine Kubernetes"):
        local("up", show=True)
    with screen.step("images"):
        local("images", show=True)
    return Tools.find(local("kubeconfig"), local("bindir")), True


def install(tools: Tools, screen: Screen, *, own_images: bool) -> None:
    """Install or upgrade the chart, with MLflow and Redis for trials."""
    values = [
        "mlflow.enabled=true",
        "redis.enabled=true",
        f"image.repository={image('operator').rpartition(':')[0]}",
        f"image.tag={image('operator').rpartition(':')[2]}",
    ]
    if own_images:
        for part in ("mlflow", "redis"):
            repository, _, tag = image(part).rpartition(":")
            values += [f"{part}.image.repository={repository}", f"{part}.image.tag={tag}"]
    sets = [argument for value in values for argument in ("--set", value)]
    with screen.step("helm install: operator, MLflow, Redis"):
        chart = str(ROOT / "charts" / "viridian")
        # on our own cluster a CRD may be left of tests or of an install without Helm
        ours = ["--take-ownership", "--force-conflicts"] if own_images else []
        tools.helm("upgrade", "--install", "viridian", chart, "-n", SYSTEM, "--create-namespace", *ours, *sets)
        for part in ("viridian", "viridian-mlflow", "viridian-redis"):
            tools.kubectl("rollout", "status", f"deployment/{part}", "-n", SYSTEM, "--timeout=300s")


def manifest(name: str, **values: str) -> str:
    """A manifest of the demo with its placeholders filled in."""
    text = (files("viridian_demo") / "manifests" / f"{name}.yaml").read_text(encoding="utf-8")
    for key, value in values.items():
        text = text.replace(key, value)
    return text


def prepare_namespace(tools: Tools) -> None:
    """The namespace, the load client for the caller's pod, and a model plug-in for trainer and server.

    Both are mounted as files: a model of one's own needs no image of one's own.
    """
    tools.kubectl("apply", "-f", "-", stdin=manifest("namespace"))
    for name, file in (("load", "load.py"), ("plugins", "fragile.py")):
        source = str(files("viridian_demo") / file)
        config_map = tools.kubectl(
            "create", "configmap", name, "-n", NAMESPACE, f"--from-file={source}", "--dry-run=client", "-o", "yaml"
        )
        tools.kubectl("apply", "-f", "-", stdin=config_map)


def clean(tools: Tools, screen: Screen) -> None:
    """Remove what an earlier demo left, so that the story starts at its beginning."""
    with screen.step("removing what an earlier run left"):
        tools.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", "--timeout=180s")
        tools.kubectl(
            "delete", "pods", "-n", SYSTEM, "-l", "app.kubernetes.io/component in (redis,mlflow)", "--wait=true"
        )
        for part in ("viridian-mlflow", "viridian-redis"):
            tools.kubectl("rollout", "status", f"deployment/{part}", "-n", SYSTEM, "--timeout=300s")
