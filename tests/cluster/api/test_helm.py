"""The chart on a real API server: install, upgrade, what the operator may do, removal."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from apiserver import ApiServer, binaries

pytestmark = pytest.mark.api

CHART = Path(__file__).resolve().parents[3] / "charts/viridian"
CRD = "customresourcedefinition/modelupdates.viridian.dev"


def found(binary: str) -> str | None:
    """Where ``binary`` is: beside the API server's, or on the search path."""
    return shutil.which(binary, path=os.pathsep.join([str(binaries()), os.environ["PATH"]]))


@dataclass(frozen=True)
class Tools:
    """Helm and kubectl for one API server and namespace."""

    kubeconfig: Path
    binary: str
    namespace: str

    def helm(self, *arguments: str) -> str:
        return self._run(self.binary, "--namespace", self.namespace, *arguments)

    def install(self, *arguments: str) -> None:
        """Install the chart; other tests may have applied the CRD by hand, or an earlier release left it."""
        force = ["--force-conflicts"] if self._run(self.binary, "version", "--short").startswith("v4") else []
        self.helm("install", "viridian", str(CHART), "--take-ownership", *force, *arguments)

    def kubectl(self, *arguments: str) -> str:
        return self._run("kubectl", *arguments)

    def may(self, verb: str, resource: str, namespace: str = "default") -> bool:
        """Whether the operator's account may do so with ``resource``, or ``resource/part``."""
        account = f"--as=system:serviceaccount:{self.namespace}:viridian"
        command = [str(found("kubectl")), f"--kubeconfig={self.kubeconfig}"]
        resource, _, part = resource.partition("/")
        question = ["auth", "can-i", verb, resource, f"--subresource={part}", "--namespace", namespace, account]
        return subprocess.run([*command, *question], capture_output=True, timeout=60).returncode == 0

    def _run(self, binary: str, *arguments: str) -> str:
        command = [str(found(binary)), f"--kubeconfig={self.kubeconfig}", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(params=["helm", "helm3"])
def tools(request: pytest.FixtureRequest, apiserver: ApiServer) -> Iterator[Tools]:
    """Each Helm in a namespace of its own, held to the restricted standard."""
    if not found(request.param):
        pytest.skip(f"no {request.param} on PATH or beside the API server")
    tools = Tools(Path(apiserver.kubeconfig), request.param, f"chart-{uuid.uuid4().hex[:8]}")
    tools.kubectl("create", "namespace", tools.namespace)
    tools.kubectl("label", "namespace", tools.namespace, "pod-security.kubernetes.io/enforce=restricted")
    yield tools
    if "viridian" in tools.helm("list", "--short"):
        tools.helm("uninstall", "viridian")


def test_install_upgrade_remove(tools: Tools) -> None:
    parts = "--set=mlflow.enabled=true,redis.enabled=true,mlflow.persistence.enabled=true"
    tools.install(parts)
    tools.helm("upgrade", "viridian", str(CHART), parts, "--set=replicaCount=3")
    deployment = json.loads(tools.kubectl("-n", tools.namespace, "get", "deployment", "viridian", "-o", "json"))
    assert deployment["spec"]["replicas"] == 3
    tools.helm("uninstall", "viridian")
    assert CRD.split("/")[1] in tools.kubectl("get", CRD)  # kept
    assert not tools.kubectl("-n", tools.namespace, "get", "deployments,services,roles", "-o", "name")


def test_cluster_scope_permissions(tools: Tools) -> None:
    tools.install()
    granted = [("list", "modelupdates"), ("update", "modelupdates/status"), ("create", "jobs.batch")]
    refused = [("list", "secrets"), ("update", "modelupdates"), ("create", "pods"), ("get", "nodes")]
    assert all(tools.may(*each) for each in granted)
    assert not any(tools.may(*each) for each in refused)
    assert tools.may("update", "leases", tools.namespace)
    assert not tools.may("update", "leases")


def test_namespaced_scope_permissions(tools: Tools) -> None:
    tools.install(f"--set=scope.namespaces={{{tools.namespace}}}")
    assert tools.may("list", "modelupdates", tools.namespace)
    assert not tools.may("list", "modelupdates")
