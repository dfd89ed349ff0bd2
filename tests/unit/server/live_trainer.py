"""Stands in for the online trainer: publishes real deltas of the sample model, and knows what each sequence answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sample_bundle import ROWS, SCHEMA, make_model, write

from viridian_model.canonical import canonical_json
from viridian_model.chain.builder import Built, DeltaBuilder, Selection
from viridian_model.chain.delta import Trained
from viridian_model.inference import golden_answers, infer
from viridian_model.publication.anchors import put_anchor
from viridian_model.publication.head import Head
from viridian_model.publication.publisher import Publisher
from viridian_model.requests import inputs_of_rows
from viridian_model.served import state_of
from viridian_model.store import open_store

INPUTS = inputs_of_rows([*ROWS[:3], {"user": "new3", "item": "new5", "type": 1, "price": 0.5}], SCHEMA)
BODY = json.dumps({"id": "r1", "inputs": INPUTS})


class LiveTrainer:
    """Begins an epoch with the sample bundle; every `publish` changes rows, a tensor, and now and then adds ids."""

    def __init__(
        self, url: str, folder: Path, *, seed: int = 1, chain: str = "ctr", selection: Selection | None = None
    ) -> None:
        self.store, self.chain, self._selection = open_store(url, {}), chain, selection
        self._random = np.random.default_rng(seed)
        self.publisher = Publisher(self.store, chain, "trainer")
        self.publisher.acquire()
        self.offline: dict[str, Any] = {}
        self.begin(folder, seed=seed)

    def begin(self, folder: Path, *, seed: int, version: str = "3") -> Head:
        """Begin an epoch with the bundle of ``seed``."""
        folder.mkdir(exist_ok=True)
        self.digest = write(folder / f"anchor-{seed}", seed=seed)
        self.model = make_model(seed=seed)[1]
        self.anchor = put_anchor(self.store, self.chain, version, folder / f"anchor-{seed}")
        head = self.publisher.begin_epoch(self.anchor, trained_to={"0": "36@4-0"}, event_time=1732453000.5)
        self.builder = DeltaBuilder("ctr", self.digest, state_of(self.model).copy(), self._selection)
        self._known(head)
        return head

    @torch.no_grad()
    def build(self, golden: bytes | None = None) -> Built:
        """Train a little."""
        for name, table in self.model.embedding_tables().items():
            if self._random.random() < 0.3:
                table.grow([f"new{self._random.integers(10)}"])
            rows = torch.from_numpy(self._random.choice(table.rows, 2, replace=False))
            table.weight[rows] += torch.from_numpy(self._random.normal(0, 0.3, (2, table.dim))).float()
            self.touched = {name: np.arange(table.rows) for name, table in self.model.embedding_tables().items()}
        self.model.bias += 0.01  # type: ignore[operator, assignment]
        built = self.builder.build(state_of(self.model), self.touched, Trained(trained_to={}, events=1), golden)
        assert built is not None
        return built

    def publish(self, *, golden: bool = False, wrong_golden: bool = False) -> Head:
        """Publish the next delta."""
        built = self.build()
        if golden or wrong_golden:
            answers = golden_answers(self.model, [INPUTS]).to_json()
            answers["requests"][0]["outputs"][0]["data"][0] += 0.5 * wrong_golden
            built = self.builder.build(
                state_of(self.model), self.touched, Trained(trained_to={}), canonical_json(answers)
            )
            assert built is not None
        head = self.publisher.publish(built.delta)
        self.builder.commit(built)
        self._known(head)
        return head

    def compact(self) -> Head:
        """Merge the links."""
        return self.publisher.compact()

    def _known(self, head: Head) -> None:
        self.offline[str(head.sequence)] = infer(self.model, INPUTS)
