"""What readers of partial deltas fetch, against a full model each time, and what it costs in AUC: the MovieLens replay.

The first 5/7 of the ratings are the first model's, the rest is trained on as it comes, published every 16 events. Each
event is answered before it is trained on, by the weights of the trainer (what a full model would bring), and by those
of readers of chains: one of exact deltas, the others of deltas as `PARTIAL` says, with everything every `CHECKPOINT`.

Bytes are those that a reader fetches: payload and manifest of each delta, and the head. ``SEEDS`` (with commas)
chooses.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from dataclasses import dataclass, field
from itertools import batched
from pathlib import Path

import numpy as np
from tests.benchmarks.result import Result
from tests.benchmarks.staleness import EVENTS, MODEL, SEEDS, STREAM_FROM, first_model, movielens_log
from tests.benchmarks.updating import Floats

from viridian_demo.events import fetch_movielens
from viridian_demo.screen import Screen
from viridian_model.bundle import Bundle
from viridian_model.chain.builder import DeltaBuilder, Selection
from viridian_model.chain.delta import Trained
from viridian_model.chain.state import ModelState
from viridian_model.contract import RankingModel
from viridian_model.merkle import Positions
from viridian_model.publication.anchors import put_anchor
from viridian_model.publication.publisher import Publisher
from viridian_model.served import state_of
from viridian_model.store import Store, open_store
from viridian_server.online.weights import Weights
from viridian_trainer.download import fetch_bundle
from viridian_trainer.eventlog import Entry, Window, read
from viridian_trainer.eventlog.dedup import RecentIds
from viridian_trainer.eventlog.parquet import ParquetEventLog
from viridian_trainer.folder_registry import FolderRegistry
from viridian_trainer.gate.metrics import metrics_of
from viridian_trainer.gate.scoring import score
from viridian_trainer.loop import Loop
from viridian_trainer.online.publication import COMPACT_AT
from viridian_trainer.online.touched import TouchedRows
from viridian_trainer.spec import split_config
from viridian_trainer.stop import StopRequest
from viridian_trainer.training.learner import Learner
from viridian_trainer.training.replay import nothing

INTERVAL = 16
#: Deltas between two checkpoints of the online trainer: 30 seconds at 4 deltas per second.
CHECKPOINT = 120
PARTIAL = (Selection(0.5, 24, "int8"), Selection(0.3, 24, "int8"), Selection(0.3, 12, "int8"))
FULL = "full models"


def _name(of: Selection) -> str:
    if of.is_exact:
        return "exact deltas"
    return f"{of.encoding} deltas of {of.share:.0%} of rows, dense every {of.dense_every}"


CHAINS = {_name(of): of for of in (Selection(), *PARTIAL)}


@dataclass
class Chain:
    """A chain in a store, and one reader of it."""

    publisher: Publisher
    builder: DeltaBuilder
    weights: Weights
    model: RankingModel
    payloads: list[float] = field(default_factory=list)
    others: list[float] = field(default_factory=list)

    @classmethod
    def begin(cls, store: Store, name: str, bundle: Bundle, selection: Selection) -> Chain:
        """Publish the anchor."""
        model = bundle.load_model().eval()
        publisher = Publisher(store, name, "benchmark")
        publisher.acquire()
        anchor = put_anchor(store, name, "1", bundle.directory)
        publisher.begin_epoch(anchor, trained_to=dict(bundle.manifest.trained_to), event_time=None)
        builder = DeltaBuilder(MODEL, bundle.digest, state_of(model).copy(), selection)
        return cls(publisher, builder, Weights.of(model), model)

    def publish(self, state: ModelState, touched: dict[str, Positions], *, everything: bool) -> None:
        """Publish a delta, and let the reader apply it."""
        built = self.builder.build(state, touched, Trained(trained_to={}), everything=everything)
        if built is None:
            return
        if self.publisher.head is not None and len(self.publisher.head.chain) >= COMPACT_AT:
            self.publisher.compact()
        head = self.publisher.publish(built.delta)
        self.builder.commit(built)
        self.weights = self.weights.after([built.delta.change], head.root)
        self.model = self.weights.put_into(self.model)
        self.payloads.append(built.delta.manifest.payload.size)
        self.others.append(len(built.delta.manifest.encode()) + len(head.encode()))


@dataclass
class Replay:
    """One seed: logits of each reader, labels, and bytes of a full model at each publication."""

    chains: dict[str, Chain]
    logits: dict[str, list[Floats]] = field(default_factory=lambda: {name: [] for name in (FULL, *CHAINS)})
    labels: list[Floats] = field(default_factory=list)
    full: list[float] = field(default_factory=list)

    def auc(self, reader: str) -> float:
        """Of all answers."""
        return metrics_of(np.concatenate(self.logits[reader]), np.concatenate(self.labels))["auroc"]


def run() -> Result:
    """Payload bytes of the first kind of partial deltas against those of the full model at the same moment."""
    fetch_movielens(Screen())
    with tempfile.TemporaryDirectory() as folder:
        log = movielens_log(Path(folder) / "log")
        replays = [_replay(log, Path(folder), seed) for seed in SEEDS]
    full = [size for each in replays for size in each.full]
    extra = {f"AUC, {FULL}, mean of {len(replays)} seeds": statistics.mean(each.auc(FULL) for each in replays)}
    for name in CHAINS:
        lost = [each.auc(FULL) - each.auc(name) for each in replays]
        chains = [each.chains[name] for each in replays]
        payloads, others = sum(sum(each.payloads) for each in chains), sum(sum(each.others) for each in chains)
        extra |= {
            f"{name}: AUC lost, mean": statistics.mean(lost),
            f"{name}: AUC lost, worst": max(lost),
            f"{name}: times fewer bytes, payloads": sum(full) / payloads,
            f"{name}: times fewer bytes, with manifests and heads": sum(full) / (payloads + others),
        }
    first = _name(PARTIAL[0])
    less = [size for each in replays for size in each.chains[first].payloads]
    return Result(f"payload of {first}, {INTERVAL} events each", "bytes", less, "full model", full, extra)


def _replay(log: ParquetEventLog, folder: Path, seed: int) -> Replay:
    start = first_model(log, folder, seed, "plain")
    registry, settings = FolderRegistry(start.folder), start.settings(INTERVAL)
    champion = Loop(log, registry, settings, StopRequest()).journal.champion
    if champion is None or champion.candidate is None:
        raise RuntimeError("there is no first model")
    bundle = fetch_bundle(registry, MODEL, champion.candidate, folder)
    config, _ = split_config(settings.config)
    learner = Learner(bundle.load_model().train(), config, bundle.manifest.trained_to, settings.data.allowed_lateness)
    learner.load_kept(bundle.optimizer())
    touched = TouchedRows(learner.model)
    store = open_store(f"file://{folder}/store-{seed}", {})
    found = Replay({name: Chain.begin(store, f"chain-{n}", bundle, of) for n, (name, of) in enumerate(CHAINS.items())})
    window = Window({"0": str(STREAM_FROM)}, {"0": str(EVENTS)})
    for number, entries in enumerate(batched(read(log, window, settings.data.event_schema), INTERVAL), start=1):
        _answer(found, learner, entries)
        _train(learner, entries)
        state, rows = state_of(learner.model), touched.drain()
        for chain in found.chains.values():
            chain.publish(state, rows, everything=number % CHECKPOINT == 0)
        tables = sum(table.values.nbytes + table.ids.nbytes for table in state.tables.values())
        found.full.append(tables + sum(tensor.nbytes for tensor in state.tensors.values()))
        if number % 200 == 0:
            told = ", ".join(f"{reader} {found.auc(reader):.4f}" for reader in found.logits)
            print(f"seed {seed}, {number * INTERVAL} events: {told}", file=sys.stderr, flush=True)
    store.close()
    return found


def _answer(found: Replay, learner: Learner, entries: tuple[Entry, ...]) -> None:
    models = {FULL: learner.model.eval(), **{name: chain.model for name, chain in found.chains.items()}}
    events, scores = score(entries, RecentIds(), models, ())
    learner.model.train()
    found.labels.append(events.labels)
    for name, given in scores.items():
        found.logits[name].append(given.logits)


def _train(learner: Learner, entries: tuple[Entry, ...]) -> None:
    for entry in entries:
        learner.take(entry)
    learner.step(nothing({}), 0.0)
