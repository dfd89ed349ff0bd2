from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from apiserver import ApiServer
from operators import Operator, until

from viridian_operator.api.crd import definition
from viridian_operator.kube.access import load_access
from viridian_operator.kube.cluster import ApiCluster

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def api_kubeconfig(apiserver: ApiServer) -> Path:
    """Access to the shared API server as administrator."""
    return apiserver.kubeconfig


@pytest.fixture
def own_apiserver(tmp_path) -> Iterator[ApiServer]:
    """One that the test may stop; without the CRD."""
    server = ApiServer(tmp_path)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def namespace(apiserver: ApiServer) -> str:
    """A namespace of the test's own, with the CRD in place."""
    apiserver.install(definition())
    return apiserver.namespace(f"test-{next(_numbers)}")


@pytest.fixture
async def cluster(apiserver: ApiServer) -> AsyncIterator[ApiCluster]:
    """The operator's client as administrator."""
    client = ApiCluster.connect(await load_access(str(apiserver.kubeconfig)))
    yield client
    await client.close()


@pytest.fixture
def start(tmp_path: Path, apiserver: ApiServer, namespace: str) -> Iterator[Callable[..., Operator]]:
    """Starts operator processes whose Lease is in the test's namespace; they end with the test."""
    started: list[Operator] = []

    def begin(*, kubeconfig: Path | None = None, wait: bool = True, **environment: str) -> Operator:
        environment.setdefault("VIRIDIAN_LEASE_NAMESPACE", namespace)
        operator = Operator(tmp_path, kubeconfig or apiserver.kubeconfig, len(started), **environment)
        started.append(operator)
        if wait:
            until(operator.ready, "the operator is ready", 60)
        return operator

    yield begin
    for operator in started:
        operator.end()
