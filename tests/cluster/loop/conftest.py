from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from loop.appending import Stream
from loop.diagnosis import state
from loop.following import Following
from loop.installing import install
from loop.manifests import NAME
from loop.space import Space
from viridian_demo.commands import Tools

_tools: list[Tools] = []
_spaces: list[Space] = []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.cluster)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed and _tools and Path(__file__).parent in item.path.parents:
        report.sections.append(("cluster", state(_tools[0], _spaces, item.name)))
    return report


@pytest.fixture(scope="session")
def tools() -> Tools:
    """kubectl and helm for the cluster of KUBECONFIG."""
    kubeconfig = os.environ.get("KUBECONFIG")
    assert kubeconfig, "KUBECONFIG names no cluster: start one with `make cluster-up`, or leave these tests out"
    found = Tools.find(kubeconfig, os.environ.get("VIRIDIAN_BIN_DIR"))
    _tools.append(found)
    return found


@pytest.fixture(scope="session")
def installed(tools: Tools) -> Tools:
    """The same, with the chart installed and ready."""
    install(tools)
    return tools


@pytest.fixture(scope="module")
def new_space(installed: Tools) -> Iterator[Callable[[str], Space]]:
    """Makes namespaces of the module's own."""

    def create(purpose: str) -> Space:
        made = Space.create(installed, purpose)
        _spaces.append(made)
        return made

    yield create
    while _spaces:
        _spaces.pop().delete()


@pytest.fixture(scope="module")
def space(new_space: Callable[[str], Space], request: pytest.FixtureRequest) -> Space:
    """A namespace of the module's own."""
    return new_space(request.path.stem.removeprefix("test_"))


@pytest.fixture(scope="module")
def stream(space: Space) -> Stream:
    """An event log of the module's own."""
    return Stream(space.tools, space.name)


@pytest.fixture
def following(space: Space) -> Iterator[Following]:
    """All states of the module's ModelUpdate from now on."""
    with space.follow(NAME) as states:
        yield states
