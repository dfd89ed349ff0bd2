"""From an event's append to an answer of a server that was trained on it: one trainer, four servers, Redis in between.

Events come at a constant rate. Every server is asked all the time, and tells in ``x-model-sequence`` what it answered
with; the heads of the store tell which sequence was trained how far. All times are of one monotonic clock. A value is
that of one event at one server; the baseline is when the head of the store held the event.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.benchmarks.result import Result
from tests.benchmarks.waiting import until
from tests.servers.redis_server import RedisServer

from viridian_model.bundle import read_bundle
from viridian_model.publication import keys
from viridian_model.publication.head import Head, Sequence
from viridian_model.store import open_store
from viridian_trainer.environment import TrainInput, Update
from viridian_trainer.eventlog import Window, count_before
from viridian_trainer.eventlog.redis_stream import RedisEventLog, RedisSource
from viridian_trainer.folder_registry import FolderRegistry
from viridian_trainer.publish import to_redis
from viridian_trainer.spec import Data
from viridian_trainer.stop import StopRequest
from viridian_trainer.synthetic import SyntheticConfig, World
from viridian_trainer.training_task import train_task

SERVERS, FIRST = 4, 4000
RATE, SECONDS = float(os.environ.get("RATE", "100")), float(os.environ.get("SECONDS", "60"))
INTERVAL = 0.25
ASK_EVERY = 0.01
MODEL, STREAM = "ctr", "clicks"
FIELDS = {"categorical": ["user", "item", "hour"]}
CONFIG: dict[str, Any] = {"dim": 16, "hidden": [32]}


@dataclass
class Timeline:
    """When something was first seen to have got so far: times (ascending) and positions."""

    times: list[float] = field(default_factory=list)
    positions: list[Any] = field(default_factory=list)

    def note(self, position: Any) -> None:
        """Remember the time if ``position`` is new."""
        if not self.positions or position > self.positions[-1]:
            self.times.append(time.monotonic())
            self.positions.append(position)

    def reached(self, position: Any) -> float | None:
        """When ``position`` or more was seen."""
        at = bisect_left(self.positions, position)
        return self.times[at] if at < len(self.times) else None


def run() -> Result:
    """Freshness of every event at every server."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="viridian-")))
        redis = stack.enter_context(RedisServer(folder)).url
        source = RedisSource(redis, STREAM, 1)
        version = _champion(folder, source)
        stack.enter_context(_process(_trainer(folder, redis), folder / "trainer.log"))
        heads, ends = _heads(stack, redis)
        until(lambda: heads.positions, "nothing was published")
        asked = [_server(stack, folder, redis, version, number) for number in range(SERVERS)]
        appended = _produce(source)
        last = FIRST + len(appended)
        until(lambda: ends.positions and ends.positions[-1] >= last, "the trainer never came to the last event", 60)
        until(lambda: all(each.positions[-1] >= heads.positions[-1] for each in asked), "a replica stayed behind", 60)
    return _result(appended, heads, ends, asked)


def _result(appended: list[float], heads: Timeline, ends: Timeline, asked: list[Timeline]) -> Result:
    published, served = [], []
    for number, moment in enumerate(appended, FIRST + 1):
        at = bisect_left(ends.positions, number)
        published.append(ends.times[at] - moment)
        served += [reached - moment for each in asked if (reached := each.reached(heads.positions[at])) is not None]
    ordered = sorted(served)
    return Result(
        "event appended to answered by a server that trained on it",
        "s",
        served,
        "event appended to head of the store",
        published,
        {
            "events": len(appended),
            "servers": SERVERS,
            "events per second": RATE,
            "publish interval": INTERVAL,
            "heads": len(heads.times),
            "p95": ordered[int(len(ordered) * 0.95)],
            "pairs never served": len(appended) * SERVERS - len(served),
        },
    )


def _rows(first: int, count: int) -> Iterator[dict[str, Any]]:
    for impression in World(SyntheticConfig()).events(first, count):
        yield {**impression.row, "ts": time.time()}


def _champion(folder: Path, source: RedisSource) -> dict[str, Any]:
    """A first model, in a registry of a folder."""
    to_redis(source, _rows(0, FIRST), None, lambda _: None)
    log = RedisEventLog(source)
    task = TrainInput(
        update=Update("local", "local", MODEL, 1, 1, "Full"),
        model_name=MODEL,
        data=Data.model_validate({"source": _source(source.url), "schema": FIELDS, "holdout": {"fraction": 0.01}}),
        parent=None,
        window=Window(log.earliest(), log.heads()),
        fresh=log.earliest(),
        config=CONFIG,
        seed=7,
        checkpoint_dir=folder / "first",
    )
    return train_task(task, log, FolderRegistry(folder / "registry"), StopRequest())


def _source(url: str) -> dict[str, Any]:
    return {"redisStream": {"url": url, "stream": STREAM, "partitions": 1}}


def _store(url: str) -> str:
    return url.removesuffix("/0") + "/1"


def _trainer(folder: Path, redis: str) -> list[str]:
    options = {
        "--source": json.dumps(_source(redis)),
        "--store": _store(redis),
        "--registry": str(folder / "registry"),
        "--model": MODEL,
        "--checkpoints": str(folder / "checkpoints"),
        "--config": json.dumps(CONFIG),
        "--data": json.dumps({"schema": FIELDS}),
        "--online": json.dumps({"publishInterval": INTERVAL}),
    }
    return ["-m", "viridian_trainer", "online", *(word for pair in options.items() for word in pair)]


@contextmanager
def _process(arguments: list[str], log: Path, env: dict[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **(env or {})}
        process = subprocess.Popen([sys.executable, *arguments], env=environment, stdout=output, stderr=output)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


def _server(stack: ExitStack, folder: Path, redis: str, version: dict[str, Any], number: int) -> Timeline:
    """Start a server, and ask it all the time from now on."""
    own = folder / f"server-{number}"
    (own / "revision").mkdir(parents=True)
    (own / "bundles").mkdir()
    (own / "token").write_text("t")
    wanted = {"model": MODEL, "version": version["version"], "digest": version["digest"], "follow": True}
    (own / "revision/revision.json").write_text(json.dumps(wanted))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    env = {
        "VIRIDIAN_HOST": "127.0.0.1",
        "VIRIDIAN_PORT": str(port),
        "VIRIDIAN_STORE": _store(redis),
        "VIRIDIAN_BUNDLE_STORE": str(own / "bundles"),
        "VIRIDIAN_REVISION_DIR": str(own / "revision"),
        "VIRIDIAN_ADMIN_TOKEN_FILE": str(own / "token"),
        "VIRIDIAN_TERMINATION_LOG": str(own / "last-words"),
    }
    stack.enter_context(_process(["-m", "viridian_server"], own / "log", env))
    until(lambda: _answers(port), "a replica never answered")
    body = _request(folder, version)
    timeline, ended = Timeline(), threading.Event()
    thread = threading.Thread(target=_ask, args=(port, body, timeline, ended), daemon=True)
    stack.callback(thread.join)
    stack.callback(ended.set)
    thread.start()
    return timeline


def _answers(port: int) -> bool:
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("GET", "/v2/health/ready")
        return connection.getresponse().status == 200
    except OSError:
        return False


def _request(folder: Path, version: dict[str, Any]) -> str:
    bundle = read_bundle(folder / "registry" / MODEL / version["version"] / "bundle")
    return json.dumps({"inputs": bundle.golden.requests[0].inputs})


def _ask(port: int, body: str, timeline: Timeline, ended: threading.Event) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    while not ended.wait(ASK_EVERY):
        connection.request("POST", f"/v2/models/{MODEL}/infer", body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        response.read()
        if response.status == 200:
            timeline.note(Sequence.parse(response.headers["x-model-sequence"]))


def _heads(stack: ExitStack, redis: str) -> tuple[Timeline, Timeline]:
    """The sequences of the heads, and how far each was trained."""
    store, ended = open_store(_store(redis), {}), threading.Event()
    heads, ends = Timeline(), Timeline()

    def watch() -> None:
        record, version = store.record(keys.head(MODEL)), None
        while not ended.is_set():
            record.wait(version, 1.0)
            if (found := record.read()) is not None:
                version, head = found.version, Head.parse(found.data)
                reached = count_before(head.trained_to["0"])
                if not ends.positions or reached > ends.positions[-1]:
                    ends.note(reached)
                    heads.note(head.sequence)

    thread = threading.Thread(target=watch, daemon=True)
    stack.callback(store.close)
    stack.callback(thread.join)
    stack.callback(ended.set)
    thread.start()
    return heads, ends


def _produce(source: RedisSource) -> list[float]:
    """Append events at the rate; gives when each was there."""
    moments: list[float] = []
    to_redis(source, _rows(FIRST, int(RATE * SECONDS)), RATE, lambda count: moments.extend([time.monotonic()] * count))
    return moments
