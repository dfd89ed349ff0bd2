from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from apiserver import ApiServer

from faults.proxy import Proxy


@pytest.fixture(scope="session")
def apiserver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """A bare API server, to try the proxy against."""
    server = ApiServer(tmp_path_factory.mktemp("apiserver"))
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def bare_proxy(apiserver: ApiServer, tmp_path: Path) -> Iterator[Proxy]:
    """A proxy before it."""
    with Proxy(apiserver.kubeconfig, tmp_path) as proxy:
        yield proxy
