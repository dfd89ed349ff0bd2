"""A model with one table of a million rows, its bundle, and a trainer that changes 1 % of the rows at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from viridian_model.bundle import finish, write_bundle
from viridian_model.chain.builder import Built, DeltaBuilder
from viridian_model.chain.delta import Trained
from viridian_model.contract import ModelSpec, RankingModel
from viridian_model.inference import golden_answers
from viridian_model.manifest import Code, Provenance, Window
from viridian_model.publication.anchors import put_anchor
from viridian_model.publication.head import Head
from viridian_model.publication.publisher import Publisher
from viridian_model.schema import Schema
from viridian_model.served import state_of
from viridian_model.store import Store

ROWS, DIM, CHANGED = 1_000_000, 32, 10_000
MODEL = "benchmark"
SCHEMA = Schema(categorical=("user", "item"))


def inputs(count: int = 16) -> list[dict[str, object]]:
    """A request for ``count`` examples."""
    return [
        {"name": name, "datatype": "INT64", "shape": [count], "data": [7919 * (n + 1) % ROWS for n in range(count)]}
        for name in SCHEMA.categorical
    ]


def make_model(seed: int = 1, rows: int = ROWS) -> tuple[ModelSpec, RankingModel]:
    """The table holds the ids 0 to ``rows`` - 2."""
    torch.manual_seed(seed)
    spec = ModelSpec.of(SCHEMA, config={"dim": DIM - 1, "hidden": [64, 32]})
    model = spec.build()
    model.embedding_tables()["item"].grow(range(rows - 1))
    model.embedding_tables()["user"].grow(range(1000))
    return spec, finish(model)


def write(directory: Path, seed: int = 1) -> tuple[str, RankingModel]:
    """Write its bundle; return digest and model."""
    spec, model = make_model(seed)
    provenance = Provenance(
        model=MODEL, kind="Full", lineage="uid/1", window=Window(start={}, to={}), trained_to={}, seed=seed,
        code=Code(version="0.1.0"),
    )  # fmt: skip
    digest = write_bundle(
        directory, provenance=provenance, spec=spec, model=model, optimizer={}, golden=golden_answers(model, [inputs()])
    )
    return digest, model


class LargeTrainer:
    """Publishes deltas of `CHANGED` random rows."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.publisher = Publisher(store, MODEL, "trainer", ttl=3600.0)
        self.publisher.acquire()
        self.digest, self.model = write(folder)
        anchor = put_anchor(store, MODEL, "1", folder)
        self.publisher.begin_epoch(anchor, trained_to={}, event_time=None)
        self._random = np.random.default_rng(1)
        self.state = state_of(self.model).copy()
        self.builder = DeltaBuilder(MODEL, self.digest, self.state.copy())

    def publish(self) -> Head:
        """Change rows and publish; chains are kept short by merging."""
        if len(self.publisher.head.chain) > 100:  # type: ignore[union-attr]
            self.publisher.compact()
        values = self.state.tables["item"].values
        rows = self._random.choice(len(values), CHANGED, replace=False)
        self._before = (rows, values[rows])
        values[rows] += self._random.normal(0, 0.01, (CHANGED, DIM)).astype(np.float32)
        built = self._built(rows)
        head = self.publisher.publish(built.delta)
        self.builder.commit(built)
        return head

    def rewind(self) -> None:
        """Go on from the state before the last delta, which is the head after a revert."""
        rows, values = self._before
        self.state.tables["item"].values[rows] = values
        self.builder.commit(self._built(rows))
        self.publisher.acquire()

    def _built(self, rows: NDArray[np.int64]) -> Built:
        built = self.builder.build(self.state, {"item": rows}, Trained(trained_to={}, events=len(rows)))
        assert built is not None
        return built
