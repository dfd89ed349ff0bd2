from __future__ import annotations

from collections.abc import Iterator

import pytest
from apiserver import ApiServer


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--sweep", choices=["lean", "all"], default="lean", help="tests/faults: kill after a few writes, or after each"
    )


@pytest.fixture(scope="session")
def apiserver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """A bare API server, shared by all tests; use a namespace of your own."""
    server = ApiServer(tmp_path_factory.mktemp("apiserver"))
    try:
        server.start()
        yield server
    finally:
        server.stop()
