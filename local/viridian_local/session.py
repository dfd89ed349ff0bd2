"""Running a command on the local cluster, which is stopped afterwards if it was started for that command."""

import os
import signal
import subprocess
from collections.abc import Mapping

from viridian_local import catalogue, cluster, images, packages, progress, record, tools
from viridian_local.errors import Problem
from viridian_local.paths import Paths


def run(paths: Paths, command: list[str], *, keep: bool, bare: bool) -> int:
    """Run ``command`` with the cluster's tools and ``KUBECONFIG``, and return its status.

    A cluster of the user's own, named by ``KUBECONFIG``, is taken instead of the local one. ``VIRIDIAN_BIN_DIR`` names
    a folder with kubectl, Helm 3 and 4, the API server and etcd; on the local cluster ``VIRIDIAN_AUDIT_LOG`` names the
    API server's audit log. A ``bare`` command starts the cluster by itself, and is only cleaned up after.
    """
    own = _own(paths)
    running = own or cluster.is_ready(paths)
    try:
        return _call(command, {} if bare else _environment(paths, own=own))
    finally:
        if not running and not keep:
            # The command's own last line stays the last one.
            progress.silence()
            cluster.down(paths)


def _own(paths: Paths) -> bool:
    """Whether the user has chosen a cluster that is not ours; ours needs no choice, and gets fresh images."""
    if os.environ.get("KUBECONFIG") == str(paths.kubeconfig):
        del os.environ["KUBECONFIG"]
    return bool(os.environ.get("KUBECONFIG"))


def _environment(paths: Paths, *, own: bool) -> dict[str, str]:
    """Build what the command needs, and tell it where that is."""
    packages.ensure_packages(packages.TESTS)
    for module in (tools.HELM3, tools.S3):
        tools.ensure(module)
    environment = {"VIRIDIAN_BIN_DIR": str(tools.links())}
    if not own:
        cluster.up(paths)
        with record.alone(paths):
            images.build_and_load(paths, catalogue.PROJECT)
        environment |= {"KUBECONFIG": str(paths.kubeconfig), "VIRIDIAN_AUDIT_LOG": str(paths.logs / "audit.log")}
    return environment


def _call(command: list[str], environment: Mapping[str, str]) -> int:
    try:
        process = subprocess.Popen(command, env={**os.environ, **environment})
    except FileNotFoundError as error:
        raise Problem(f"The program {command[0]} is missing.", "Run `make venv` first.") from error
    # The command cleans up after itself, and only then the cluster may go: Ctrl-C reaches it by itself.
    before = (
        signal.signal(signal.SIGINT, lambda *_: None),
        signal.signal(signal.SIGTERM, lambda *_: process.terminate()),
    )
    try:
        return process.wait()
    finally:
        signal.signal(signal.SIGINT, before[0])
        signal.signal(signal.SIGTERM, before[1])
