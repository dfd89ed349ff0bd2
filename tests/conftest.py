from __future__ import annotations

from collections.abc import Iterator

import pytest
from apiserver import ApiServer
from mlflow_server import mlflow_server
from redis_server import RedisServer
from s3_server import S3Server


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


@pytest.fixture(scope="session")
def mlflow_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real MLflow, shared by all tests since it takes long to start; use model names of your own."""
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as url:
        yield url


@pytest.fixture(scope="session")
def shared_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A real Redis, shared by all tests."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="session")
def shared_s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3 service over a folder, shared by all tests."""
    server = S3Server(tmp_path_factory.mktemp("s3"))
    server.start()
    yield server
    server.stop()
