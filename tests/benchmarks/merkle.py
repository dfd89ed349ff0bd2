"""The root after 10,000 random rows of 1,000,000 × 32 changed, against hashing every leaf that holds one of them.

CPU time of one core, so that neighbours on the machine do not count.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray
from tests.benchmarks.result import Result

from viridian_model.merkle import LEAF_ROWS, MerkleTree, Rows

ROWS, DIM, CHANGED, ROUNDS = 1_000_000, 32, 10_000, 10
Values, Ids = NDArray[np.float32], NDArray[np.int64]


def run() -> Result:
    """Update and whole build of both."""
    random = np.random.default_rng(1)
    values = random.standard_normal((ROWS, DIM), dtype=np.float32)
    ids = random.integers(-(2**62), 2**62, ROWS)
    tree, builds = MerkleTree.of(values, ids), []
    updates, leaves, whole = [], [], []
    for _ in range(ROUNDS):
        positions = np.sort(random.choice(ROWS, CHANGED, replace=False))
        gone = Rows(positions, values[positions], ids[positions])
        values[positions] += 1
        new = Rows(positions, values[positions], ids[positions])
        tree, spent = milliseconds(lambda: _update(tree, gone, new))  # noqa: B023
        updates.append(spent)
        touched = np.unique(positions // LEAF_ROWS)
        leaves.append(milliseconds(lambda: _leaves(values, ids, touched))[1])  # noqa: B023
        built, spent = milliseconds(lambda: MerkleTree.of(values, ids))
        builds.append(spent)
        whole.append(milliseconds(lambda: _leaves(values, ids, np.arange(-(-ROWS // LEAF_ROWS))))[1])
        if built.root != tree.root:
            raise RuntimeError("the updated tree has another root than a new one")
    extra = {
        "ms, whole tree": float(np.median(builds)),
        "ms, all leaves as xxh3-128": float(np.median(whole)),
        "leaves touched": float(len(touched)),
    }
    return Result("root after 10,000 of 1M × 32 rows", "ms CPU", updates, "hashing the touched leaves", leaves, extra)


def _update(tree: MerkleTree, gone: Rows, new: Rows) -> MerkleTree:
    after = tree.replace(gone, new, ROWS)
    _ = after.root
    return after


def _leaves(values: Values, ids: Ids, touched: NDArray[np.int64]) -> None:
    """How leaves were hashed before: xxh3-128 over the bytes of all their rows."""
    for leaf in touched.tolist():
        block = slice(leaf * LEAF_ROWS, (leaf + 1) * LEAF_ROWS)
        hasher = xxhash.xxh3_128(values[block].tobytes())
        hasher.update(ids[block].tobytes())
        hasher.digest()


def milliseconds[T](work: Callable[[], T]) -> tuple[T, float]:
    """Do it, and say how much CPU time it took."""
    begun = time.process_time()
    done: Any = work()
    return done, (time.process_time() - begun) * 1000
