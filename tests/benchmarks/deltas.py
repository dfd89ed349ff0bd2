"""A delta of 1 % of 1,000,000 × 32 rows, stage by stage, and a whole chain of 128 of them after their anchor.

CPU time, so that neighbours on the machine do not count; the store is a directory, and its waiting for the disk is told
apart, as time of the clock.
"""

from __future__ import annotations

import hashlib
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file
from tests.benchmarks.merkle import milliseconds
from tests.benchmarks.result import Result

from viridian_model.canonical import canonical_json, sha256_of_file
from viridian_model.chain.builder import Built, DeltaBuilder
from viridian_model.chain.delta import Trained
from viridian_model.chain.roots import Roots, advance
from viridian_model.chain.state import ModelState, Table
from viridian_model.publication import keys
from viridian_model.publication.follower import Follower
from viridian_model.publication.head import Anchor, Head
from viridian_model.publication.publisher import Publisher
from viridian_model.store import Store, open_store

ROWS, DIM, CHANGED, LINKS, LOADS = 1_000_000, 32, 10_000, 128, 3
MODEL = "benchmark"
Stages = dict[str, list[float]]


def run() -> Result:
    """What a publication costs reader and writer, against hashing the whole model anew."""
    with tempfile.TemporaryDirectory() as name:
        store = open_store(f"file://{name}/store", {})
        stages, whole, head = _publish(store, Path(name))
        loads = [_load(store, Path(name), head) for _ in range(LOADS)]
    extra = {f"ms, {stage}": statistics.median(values) for stage, values in stages.items()}
    extra |= {
        f"s, anchor and {LINKS} deltas, CPU": statistics.median(cpu for cpu, _ in loads),
        f"s, anchor and {LINKS} deltas, clock": statistics.median(clock for _, clock in loads),
        "bytes of a delta": head.size / LINKS,
    }
    return Result("apply a 1 % delta of 1M × 32 and its root", "ms CPU", stages["apply"], "whole root", whole, extra)


def _publish(store: Store, folder: Path) -> tuple[Stages, list[float], Head]:
    random = np.random.default_rng(1)
    state = ModelState(
        {"item": Table(np.arange(ROWS), random.standard_normal((ROWS, DIM), dtype=np.float32))},
        {"mlp.0.weight": random.standard_normal((64, DIM), dtype=np.float32)},
    )
    publisher, anchor = _anchor(store, folder, state)
    builder, replica = DeltaBuilder(MODEL, anchor.digest, state.copy()), state.copy()
    roots, whole, stages = Roots.of(replica), [], defaultdict(list)
    follower = Follower(store, MODEL)
    for number in range(LINKS):
        rows = np.sort(random.choice(ROWS, CHANGED, replace=False))
        state.tables["item"].values[rows] += random.standard_normal((CHANGED, DIM), dtype=np.float32)
        state.tensors["mlp.0.weight"] += 1
        trained = Trained(trained_to={"0": str(number)})
        built, spent = milliseconds(lambda: builder.build(state, {"item": rows}, trained))  # noqa: B023
        stages["build"].append(spent)
        head = _write(publisher, builder, built, stages)
        delta, spent = milliseconds(lambda: follower.fetch(head.chain[-1], roots.root))  # noqa: B023
        stages["read and verify"].append(spent)
        roots, spent = milliseconds(lambda: advance(replica, roots, delta.change))  # noqa: B023
        stages["apply"].append(spent)
        if roots.root != head.root:
            raise RuntimeError("the reader has another root than the writer")
        if number % 16 == 0:
            whole.append(milliseconds(lambda: Roots.of(replica))[1])
    return stages, whole, head


def _anchor(store: Store, folder: Path, state: ModelState) -> tuple[Publisher, Anchor]:
    table = state.tables["item"]
    weights = {"ids": table.ids, "values": table.values, **state.tensors}
    save_file(weights, folder / "weights.safetensors")
    manifest = canonical_json({"weights": sha256_of_file(folder / "weights.safetensors"), "trainedTo": {}})
    digest = "sha256:" + hashlib.sha256(manifest).hexdigest()
    store.put_new(keys.bundle_file(MODEL, digest, keys.MANIFEST), manifest)
    anchor = Anchor(version="1", digest=digest, root=Roots.of(state).root)
    publisher = Publisher(store, MODEL, "benchmark", ttl=3600)
    publisher.acquire()
    publisher.begin_epoch(anchor, trained_to={}, event_time=None)
    return publisher, anchor


def _write(publisher: Publisher, builder: DeltaBuilder, built: Built | None, stages: Stages) -> Head:
    if built is None:
        raise RuntimeError("nothing changed")
    begun = time.perf_counter()
    head, spent = milliseconds(lambda: publisher.publish(built.delta))
    stages["write and publish"].append(spent)
    stages["write and publish, clock"].append((time.perf_counter() - begun) * 1000)
    builder.commit(built)
    return head


def _load(store: Store, folder: Path, head: Head) -> tuple[float, float]:
    """A new reader: verify and read the anchor, fetch, verify and apply every link, hash the result once."""
    begun = time.perf_counter()
    _, spent = milliseconds(lambda: _loaded(store, folder, head))
    return spent / 1000, time.perf_counter() - begun


def _loaded(store: Store, folder: Path, head: Head) -> None:
    sha256_of_file(folder / "weights.safetensors")
    arrays = load_file(folder / "weights.safetensors")
    state = ModelState({"item": Table(arrays.pop("ids"), arrays.pop("values"))}, arrays)
    follower, root = Follower(store, MODEL), head.anchor.root
    for digest in follower.plan(head).deltas:
        delta = follower.fetch(digest, root)
        state.apply(delta.change)
        root = delta.manifest.root
    if Roots.of(state).root != head.root:
        raise RuntimeError("the chain leads to another root than that of the head")
