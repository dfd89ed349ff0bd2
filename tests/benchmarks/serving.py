"""Requests per second of one server with a pool of threads and of several processes, and what batching would save.

Clients are two processes with four kept connections each, which send a request when the last one is answered. All
of it shares the machine, in every case alike; the cases take turns, ``SERVING_ROUNDS=…`` times.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import torch
from tests.benchmarks.hotswap import Replica, all_ready
from tests.benchmarks.http_client import READY
from tests.benchmarks.large_model import MODEL, inputs, write
from tests.benchmarks.result import Result

from viridian_model.contract import RankingModel
from viridian_model.inference import infer

ROUNDS = int(os.environ.get("SERVING_ROUNDS", "5"))
SECONDS, CLIENTS, CONNECTIONS = 3.0, 2, 4
INFER = f"/v2/models/{MODEL}/infer"
#: Examples of one request: a single one, and a list to be ranked.
SIZES = (1, 64)
#: Requests that a batch would put together.
BATCH = 16
#: Threads of each process.
CASES = {"1 thread": (1,), "2 threads": (2,), "4 threads": (4,), "2 processes of 1 thread": (1, 1)}
DEFAULT, OTHER = "2 threads", "2 processes of 1 thread"


def run() -> Result:
    """Requests of one example per second: the default against as many processes."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        root = Path(name)
        digest, model = write(root / "bundle")
        (root / "bundles").mkdir()
        (root / "bundle").rename(root / "bundles" / digest.removeprefix("sha256:"))
        (root / "token").write_text("benchmark")
        (root / "revision.json").write_text(json.dumps({"model": MODEL, "version": "1", "digest": digest}))
        servers = {
            case: stack.enter_context(all_ready([start(root, each) for each in threads]))
            for case, threads in CASES.items()
        }
        found: dict[tuple[str, int], list[float]] = {(case, size): [] for case in CASES for size in SIZES}
        for number in range(ROUNDS):
            for case in list(CASES)[number % len(CASES) :] + list(CASES)[: number % len(CASES)]:
                for size in SIZES:
                    found[case, size].append(answered(servers[case], size))
    rates = {
        f"{case}, {size} examples, requests per second": statistics.median(each) for (case, size), each in found.items()
    }
    return Result(
        f"requests of 1 example, {DEFAULT}", "1/s", found[DEFAULT, 1], OTHER, found[OTHER, 1], rates | batching(model)
    )


def start(root: Path, threads: int) -> Replica:
    """A server process."""
    return Replica(root, VIRIDIAN_INFERENCE_THREADS=str(threads), VIRIDIAN_LOG_LEVEL="INFO")


def answered(servers: list[Replica], size: int) -> float:
    """Requests per second that all clients together got answers to."""
    command = [sys.executable, "-m", "tests.benchmarks.http_client"]
    clients = [
        subprocess.Popen(
            [*command, str(servers[number % len(servers)].port), INFER, str(SECONDS), str(CONNECTIONS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for number in range(CLIENTS)
    ]
    for each in clients:
        assert each.stdout
        if each.stdout.readline() != READY:
            raise RuntimeError("a client did not start")
    body = json.dumps({"inputs": inputs(size)}).encode()
    for each in clients:
        assert each.stdin
        each.stdin.write(body)
        each.stdin.close()
    return sum(_count(each) for each in clients) / SECONDS


def _count(client: subprocess.Popen[bytes]) -> int:
    assert client.stdout
    with client:
        return int(client.stdout.read())


def batching(model: RankingModel) -> dict[str, float]:
    """Milliseconds of processor for one example, and for each of ``BATCH`` requests that the model answers together."""
    torch.set_num_threads(1)
    alone, together = (_milliseconds(model, count) for count in (1, BATCH))
    return {"model alone, ms": alone, f"model in batches of {BATCH}, ms per request": together / BATCH}


def _milliseconds(model: RankingModel, count: int, times: int = 300) -> float:
    request = inputs(count)
    infer(model, request)
    began = time.process_time()
    for _ in range(times):
        infer(model, request)
    return 1000 * (time.process_time() - began) / times
