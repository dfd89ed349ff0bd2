from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis
from redis_server import RedisServer


@pytest.fixture(scope="session")
def redis_url(shared_redis: RedisServer) -> str:
    """Address of a Redis of our own."""
    return shared_redis.url


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    """An empty Redis."""
    with redis.Redis.from_url(redis_url) as connected:
        connected.flushall()
        yield connected
