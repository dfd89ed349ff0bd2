"""Hot swaps of 1 % of 1,000,000 × 32 rows through a real Redis: how soon they answer everywhere, what callers notice.

Callers are compared over the same stretch of time in three ways: nothing is published; deltas are published to a store
that the replica does not follow, so that the trainer takes its share of the machine; the replica swaps.
Smaller runs: DELTAS (500), REPLICAS (4), ROUNDS (10), REVERTS (200).
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tests.benchmarks.large_model import MODEL, LargeTrainer, inputs, make_model, write
from tests.benchmarks.result import Result
from tests.benchmarks.trainer_process import TrainerProcess
from tests.benchmarks.waiting import DEADLINE, until
from tests.servers.redis_server import RedisServer

from viridian_model.chain.change import TableChange
from viridian_model.publication.head import Head
from viridian_model.publication.reverting import revert
from viridian_model.store import open_store
from viridian_server.__main__ import SWITCH_SECONDS
from viridian_server.online.weights import Weights

DELTAS, REPLICAS, ROUNDS, REVERTS = (
    int(os.environ.get(name, default))
    for name, default in (("DELTAS", 500), ("REPLICAS", 4), ("ROUNDS", 10), ("REVERTS", 200))
)
#: rows before and after the growth of a table, and new ones per delta
SMALL, LARGE, NEW = 250_000, 2_500_000, 50_000
INTERVAL, ROUND_SECONDS, RATE = 0.25, 25.0, 100.0
NOTHING, UNFOLLOWED, SWAPS = "nothing published", "published elsewhere", "swapping"
TOKEN = "benchmark"


class Replica:
    """A server process and what its log says of swaps."""

    def __init__(self, root: Path, **env: str) -> None:
        self.swaps: dict[str, float] = {}
        self.port = 0
        environ = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")} | {
            "VIRIDIAN_HOST": "127.0.0.1", "VIRIDIAN_PORT": "0", "VIRIDIAN_LOG_LEVEL": "DEBUG",
            "VIRIDIAN_BUNDLE_STORE": str(root / "bundles"), "VIRIDIAN_REVISION_DIR": str(root),
            "VIRIDIAN_ADMIN_TOKEN_FILE": str(root / "token"), "VIRIDIAN_TERMINATION_LOG": str(root / "termination"),
        }  # fmt: skip
        command = [sys.executable, "-m", "viridian_server"]
        self._process = subprocess.Popen(command, env=environ | env, stdout=subprocess.PIPE, text=True)
        threading.Thread(target=self._read, daemon=True).start()
        until(lambda: self.port, "it never listened")

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            entry = json.loads(line)
            if entry["event"] == "listening":
                self.port = int(entry["addresses"][0].rpartition(",")[2].strip(" )"))
            if entry["event"] == "swapped":
                self.swaps[entry["sequence"]] = entry["seconds"]

    def call(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Send one request over a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)
        headers = {"Authorization": f"Bearer {TOKEN}"}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = connection.getresponse()
        data = response.read()
        return response.status, json.loads(data) if data else None

    def ready(self) -> bool:
        """Whether it may get traffic."""
        return self.call("GET", "/v2/health/ready")[0] == 200

    def stop(self) -> None:
        """End it."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()


def run() -> Result:
    """Publication to answering on every replica, against staging and flipping a whole bundle."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        root = Path(name)
        url = stack.enter_context(RedisServer(root / "redis")).url
        trainer = LargeTrainer(open_store(url, {}), root / "anchor")
        with replicas(root, url, trainer.digest, REPLICAS) as all_of_them:
            live = [slowest(all_of_them, head) for head in every(INTERVAL, DELTAS, trainer)]
            back = reverts(all_of_them, url, trainer)
        p99 = rounds(root)
        whole = stage_and_flip(root, trainer.digest)
    extra = {
        "replicas": float(REPLICAS),
        **{f"p99 of requests, {what}, ms, median": 1000 * statistics.median(seconds) for what, seconds in p99.items()},
        **compared(p99[SWAPS], p99[UNFOLLOWED], UNFOLLOWED),
        **compared(p99[SWAPS], p99[NOTHING], NOTHING),
        "revert to last replica, ms, worst": 1000 * max(back),
        "revert to last replica, ms, median": 1000 * statistics.median(back),
        **growth_pause(),
    }
    what = f"published to answering on the last of {REPLICAS} replicas, 1 % of 1M x 32"
    return Result(what, "s", live, "stage and flip a whole bundle", whole, extra)


@contextmanager
def replicas(root: Path, url: str, digest: str, count: int) -> Iterator[list[Replica]]:
    """Replicas that follow the store and are ready."""
    (root / "token").write_text(TOKEN)
    wanted = {"model": MODEL, "version": "1", "digest": digest, "follow": True}
    (root / "revision.json").write_text(json.dumps(wanted))
    with all_ready([Replica(root, VIRIDIAN_STORE=url) for _ in range(count)]) as started:
        yield started


@contextmanager
def all_ready(started: list[Replica]) -> Iterator[list[Replica]]:
    """Servers, once all of them are ready; they end with the block."""
    try:
        for replica in started:
            until(replica.ready, "a replica never got ready")
        yield started
    finally:
        for replica in started:
            replica.stop()


def every(interval: float, count: int, trainer: LargeTrainer) -> Iterator[Head]:
    """Publish at a steady rate, or as fast as it goes where that is slower."""
    for _ in range(count):
        began = time.monotonic()
        yield trainer.publish()
        time.sleep(max(0.0, interval - (time.monotonic() - began)))


def slowest(all_of_them: list[Replica], head: Head) -> float:
    """Seconds from the publication of ``head`` until the last replica answered with it."""
    sequence = str(head.sequence)
    until(lambda: all(sequence in each.swaps for each in all_of_them), f"{sequence} never answered")
    return max(each.swaps[sequence] for each in all_of_them)


def reverts(all_of_them: list[Replica], url: str, trainer: LargeTrainer) -> list[float]:
    """Go back to the sequence before, over and over."""
    seconds = []
    for _ in range(REVERTS):
        before = trainer.publisher.head
        assert before is not None
        slowest(all_of_them, trainer.publish())
        head = revert(open_store(url, {}), MODEL, str(before.sequence), "benchmark")
        seconds.append(slowest(all_of_them, head))
        trainer.rewind()
    return seconds


def rounds(root: Path) -> dict[str, list[float]]:
    """p99 of requests at a steady rate, in seconds, by what a trainer does meanwhile; one value for each round."""
    found: dict[str, list[float]] = {NOTHING: [], UNFOLLOWED: [], SWAPS: []}
    with ExitStack() as stack:
        url, other = (stack.enter_context(RedisServer(root / name)).url for name in ("followed", "elsewhere"))
        # processes, so that their work does not hold up the caller
        followed = stack.enter_context(TrainerProcess(url, root / "followed" / "anchor", INTERVAL))
        elsewhere = stack.enter_context(TrainerProcess(other, root / "elsewhere" / "anchor", INTERVAL))
        busy: dict[str, Callable[[], AbstractContextManager[None]]] = {
            NOTHING: nullcontext,
            UNFOLLOWED: elsewhere.publishing,
            SWAPS: followed.publishing,
        }
        (replica,) = stack.enter_context(replicas(root, url, followed.digest, 1))
        for number in range(ROUNDS):
            order = list(busy)[number % 3 :] + list(busy)[: number % 3]
            for what in order:
                with busy[what]():
                    found[what].append(_p99(replica))
        swaps = len(replica.swaps)
        assert swaps > ROUNDS * ROUND_SECONDS / INTERVAL / 2, f"only {swaps} swaps"
    return found


def compared(values: list[float], base: list[float], name: str) -> dict[str, float]:
    """Ratios of values of the same round."""
    ratios = [value / other for value, other in zip(values, base, strict=True)]
    return {
        f"p99, {SWAPS} / {name}, median of rounds": statistics.median(ratios),
        f"p99, {SWAPS} / {name}, worst round": max(ratios),
    }


def _p99(replica: Replica) -> float:
    """Open loop: a request is sent when it is due, and its time runs from then on."""
    body = json.dumps({"inputs": inputs()})
    connection = http.client.HTTPConnection("127.0.0.1", replica.port, timeout=DEADLINE)
    seconds, began = [], time.monotonic()
    for number in range(int(ROUND_SECONDS * RATE)):
        due = began + number / RATE
        time.sleep(max(0.0, due - time.monotonic()))
        connection.request("POST", f"/v2/models/{MODEL}/infer", body)
        response = connection.getresponse()
        assert response.read()
        assert response.status == 200
        seconds.append(time.monotonic() - due)
    return sorted(seconds)[int(len(seconds) * 0.99)]


def stage_and_flip(root: Path, digest: str) -> list[float]:
    """A pod that does not follow takes over a whole bundle."""
    other, _ = write(root / "other", seed=2)
    (root / "other").rename(root / "bundles" / other.removeprefix("sha256:"))
    (root / "revision.json").write_text(json.dumps({"model": MODEL, "version": "1", "digest": digest}))
    replica, seconds = Replica(root), []
    try:
        until(replica.ready, "it never got ready")
        for version in range(3):
            began = time.monotonic()
            replica.call("POST", "/viridian/v1/admin/stage", {"version": f"2.{version}", "digest": other})
            until(lambda: replica.call("POST", "/viridian/v1/admin/flip", {"digest": other})[0] == 200, "never staged")
            seconds.append(time.monotonic() - began)
            replica.call("POST", "/viridian/v1/admin/flip", {"digest": digest})
    finally:
        replica.stop()
    return seconds


def growth_pause() -> dict[str, float]:
    """Longest time that a reader of a table had to wait, while it grew to ten times its ids and its arena with it."""
    torch.set_num_threads(1)
    sys.setswitchinterval(SWITCH_SECONDS)
    _, model = make_model(rows=SMALL)
    weights = Weights.of(model)
    state = {"model": weights.put_into(model)}
    table = weights.tables["item"]
    hashes, stop, waits = torch.from_numpy(table.ids[1:17].copy()), threading.Event(), []

    def read() -> None:
        while not stop.is_set():
            began = time.perf_counter()
            state["model"].embedding_tables()["item"](hashes)
            waits.append(time.perf_counter() - began)

    capacities, random = {table.arena.capacity}, np.random.default_rng(1)
    still = _waits(read, stop, waits, lambda: time.sleep(5.0))

    def grow() -> None:
        nonlocal table
        for end in range(table.rows + NEW, LARGE + 1, NEW):
            positions = np.arange(table.rows, end)
            ids = random.integers(1, 1 << 62, NEW)
            values = random.standard_normal((NEW, table.dim), dtype=np.float32)
            table = table.after([TableChange(end, positions, ids, values, np.zeros(0, np.int64))])
            swapped = Weights({**weights.tables, "item": table}, weights.tensors, weights.roots)
            state["model"] = swapped.put_into(state["model"])
            capacities.add(table.arena.capacity)

    growing = _waits(read, stop, waits, grow)
    return {
        "growth: times the ids": table.rows / SMALL,
        "growth: arenas": float(len(capacities)),
        **_pauses("growth", growing),
        **_pauses("no growth", still),
    }


def _pauses(name: str, waits: list[float]) -> dict[str, float]:
    """How long look-ups took; on a busy machine also where nothing grows."""
    return {
        f"{name}: look-ups": float(len(waits)),
        f"{name}: longest look-up, ms": 1000 * max(waits),
        f"{name}: share of look-ups over 20 ms": sum(each > 0.02 for each in waits) / len(waits),
    }


def _waits(read: Any, stop: threading.Event, waits: list[float], work: Any) -> list[float]:
    waits.clear()
    stop.clear()
    thread = threading.Thread(target=read)
    thread.start()
    work()
    stop.set()
    thread.join()
    return list(waits)
