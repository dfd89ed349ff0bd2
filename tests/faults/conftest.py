from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from apiserver import ApiServer
from loop.installing import SYSTEM
from loop.space import Space
from operators import until
from redis_server import RedisServer

from faults.proxy import Proxy
from faults.registry import RegistryProxy
from faults.timeline import Timeline
from faults.world import World
from viridian_demo.commands import CommandFailed, Tools
from viridian_local.addresses import HOST
from viridian_operator.api.crd import definition, render

CRD = definition()["metadata"]["name"]
OPERATOR = ("deployment", "viridian", "-n", SYSTEM)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and {"world", "new_world"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.cluster)


@pytest.fixture
def bare_proxy(apiserver: ApiServer, tmp_path: Path) -> Iterator[Proxy]:
    """A proxy before it."""
    with Proxy(apiserver.kubeconfig, tmp_path) as proxy:
        yield proxy


@pytest.fixture(scope="session")
def tools() -> Iterator[Tools]:
    """kubectl for the cluster of KUBECONFIG, with the CRD, and with no operator but those of the tests."""
    kubeconfig = os.environ.get("KUBECONFIG")
    assert kubeconfig, "KUBECONFIG names no cluster: start one with `make cluster-up`, or leave these tests out"
    tools = Tools.find(kubeconfig, os.environ.get("VIRIDIAN_BIN_DIR"))
    found = _taken_over(tools)
    yield tools
    _given_back(tools, found)


def _taken_over(tools: Tools) -> dict[str, Any]:
    """Returns what was there before."""
    crd = tools.kubectl("get", "crd", CRD, "--ignore-not-found", "-o", "name")
    tools.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=render())
    # it is established a moment before it is served
    until(lambda: _served(tools), "the API server serves ModelUpdates", 60)
    size = None
    if tools.kubectl("get", *OPERATOR, "--ignore-not-found", "-o", "name"):
        size = tools.get("deployment", "viridian", SYSTEM)["spec"]["replicas"]
        tools.kubectl("scale", *OPERATOR, "--replicas=0")
    return {"crd": bool(crd), "size": size}


def _given_back(tools: Tools, found: dict[str, Any]) -> None:
    if found["size"] is not None:
        tools.kubectl("scale", *OPERATOR, f"--replicas={found['size']}")
    if not found["crd"]:
        # whoever installs the chart next would have to take it over
        tools.kubectl("delete", "crd", CRD, "--timeout=60s")


def _served(tools: Tools) -> bool:
    try:
        tools.kubectl("get", "modelupdates", "--all-namespaces")
    except CommandFailed:
        return False
    return True


@pytest.fixture(scope="session")
def registry(mlflow_url: str) -> Iterator[RegistryProxy]:
    """MLflow on this machine, behind a proxy that pods reach, too."""
    host = os.environ.get("VIRIDIAN_TEST_HOST", HOST)
    with RegistryProxy(mlflow_url, host) as proxy:
        yield proxy


def _shared(fixture_name: str, config: pytest.Config) -> str:
    """The lean run saves the time that a model for each module takes to be served."""
    return "module" if config.getoption("--sweep") == "all" else "session"


@pytest.fixture(scope="session")
def new_world(
    tools: Tools, registry: RegistryProxy, shared_redis: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., AbstractContextManager[World]]:
    """Makes a served model in a namespace of its own, with changes of its spec."""

    @contextmanager
    def make(**fixed: Any) -> Iterator[World]:
        folder, kubeconfig = tmp_path_factory.mktemp("world"), Path(tools.kubeconfig)
        space = Space.create(tools, "faults")
        with ExitStack() as stack:
            stack.callback(space.delete)
            proxy = stack.enter_context(Proxy(kubeconfig, folder))
            timeline = stack.enter_context(Timeline(kubeconfig, space.name, folder))
            made = World(space, proxy, timeline, registry, shared_redis.url, folder, fixed)
            stack.callback(made.close)
            made.start()
            made.serve_first()
            yield made

    return make


@pytest.fixture(scope=_shared)
def world(new_world: Callable[..., AbstractContextManager[World]]) -> Iterator[World]:
    """A served model; cells leave it as they found it."""
    with new_world() as made:
        yield made
