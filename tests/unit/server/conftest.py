from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from redis_server import RedisServer

sys.path.insert(0, str(Path(__file__).parents[1] / "model"))

from live_trainer import LiveTrainer
from pod import Process, Site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture
def start(site: Site) -> Iterator[Callable[..., Process]]:
    """Start servers on `site`; whatever still runs in the end is killed."""
    processes: list[Process] = []

    def start_one(**env: str) -> Process:
        processes.append(Process(site.env(**env)))
        return processes[-1]

    yield start_one
    for process in processes:
        if process.popen.poll() is None:
            process.popen.kill()
        process.wait()


@pytest.fixture
def store_url(shared_redis: RedisServer) -> str:
    """An empty store in a real Redis."""
    url = shared_redis.url.removesuffix("0") + "9"
    with redis.Redis.from_url(url) as client:
        client.flushdb()
    return url


@pytest.fixture
def trainer(store_url: str, tmp_path: Path) -> LiveTrainer:
    """Has begun an epoch."""
    return LiveTrainer(store_url, tmp_path / "trainer")
