"""A model so small that a process can publish it as fast as the store allows; run as a program it does so until killed.

    python publishing.py STORE HOLDER LOG

LOG gets a line ``epoch n root token`` for every publication that was answered.
"""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from viridian_model.canonical import canonical_json
from viridian_model.chain.builder import Built, DeltaBuilder
from viridian_model.chain.delta import Trained
from viridian_model.chain.roots import Roots, advance
from viridian_model.chain.state import ModelState, Table
from viridian_model.publication import keys
from viridian_model.publication.follower import Follower
from viridian_model.publication.head import Anchor, Head
from viridian_model.publication.lease import Fenced, LeaseHeld
from viridian_model.publication.publisher import Publisher
from viridian_model.store import Store, StoreUnavailable, open_store

MODEL = "ctr"
ROWS = 8
LONG = 20
"""Links after which the writers compact."""


def initial() -> ModelState:
    """The state of every anchor."""
    return ModelState(
        {"item": Table(np.arange(ROWS), np.zeros((ROWS, 2), np.float32))}, {"bias": np.zeros(1, np.float32)}
    )


def anchor(store: Store, number: int = 0) -> Anchor:
    """An anchor whose bundle is nothing but a manifest."""
    manifest = canonical_json({"number": number, "trainedTo": {"0": "0"}, "eventTime": None})
    digest = f"sha256:{number:064x}"
    store.put_new(keys.bundle_file(MODEL, digest, keys.MANIFEST), manifest)
    return Anchor(version=str(number), digest=digest, root=Roots.of(initial()).root, size=1000)


def replayed(store: Store, head: Head) -> ModelState:
    """What a reader that starts from nothing serves; fails if the head cannot be resolved."""
    follower, state = Follower(store, MODEL), initial()
    roots = Roots.of(state)
    plan = follower.plan(head)
    assert plan.start is None
    for digest in plan.deltas:
        delta = follower.fetch(digest, roots.root)
        roots = advance(state, roots, delta.change)
        assert roots.root == delta.manifest.root
    assert roots.root == head.root
    return state


class Writer:
    """A trainer: goes on from the head, changes rows, publishes."""

    def __init__(
        self,
        store: Store,
        holder: str,
        *,
        ttl: float = 15.0,
        seed: int = 0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.publisher = Publisher(store, MODEL, holder, ttl=ttl, clock=clock)
        self._store, self._random = store, np.random.default_rng(seed)

    def begin(self) -> Head:
        """Take the lease; begin the first epoch if there is none."""
        head = self.publisher.acquire()
        if head is None:
            head = self.publisher.begin_epoch(anchor(self._store), trained_to={"0": "0"}, event_time=None)
        self.resume(head)
        return head

    def resume(self, head: Head) -> None:
        """Go on from what the head says."""
        self._builder = DeltaBuilder(MODEL, head.anchor.digest, replayed(self._store, head))
        self._state = self._builder.served.copy()

    def build(self) -> Built:
        """Change some rows."""
        rows = self._random.choice(ROWS, 3, replace=False)
        self._state.tables["item"].values[rows] = self._random.standard_normal((3, 2)).astype(np.float32)
        built = self._builder.build(self._state, {"item": rows}, Trained(trained_to={"0": "1"}, events=1))
        assert built is not None
        return built

    def publish(self, built: Built | None = None) -> Head:
        """Publish what was built, or something new."""
        built = built or self.build()
        head = self.publisher.publish(built.delta)
        self._builder.commit(built)
        return head


def main(url: str, holder: str, log: Path, environ: Mapping[str, str]) -> None:
    """Publish until killed, and never renew the lease, so that the writers take it from each other all the time."""
    store, chance = open_store(url, environ), random.Random(os.getpid())
    writer = Writer(store, holder, ttl=0.5, seed=os.getpid())
    with log.open("a", buffering=1) as lines:
        while True:
            try:
                writer.begin()
                while True:
                    head = writer.publish()
                    lines.write(f"{head.epoch} {head.n} {head.root} {head.token}\n")
                    if len(head.chain) >= LONG:
                        writer.publisher.compact(keep=2)
            except (Fenced, LeaseHeld, StoreUnavailable):
                # Of random length, or two slow ones could fence each other off for ever before they publish.
                time.sleep(chance.uniform(0, 1))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), os.environ)
