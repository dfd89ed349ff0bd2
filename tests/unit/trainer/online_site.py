"""An online trainer over folders: its champion, its task, and what it left behind."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np
from worlds import CONFIG, FIELDS, parquet, rows, train_in, training

from viridian_model.bundle import read_bundle
from viridian_model.chain.builder import DeltaBuilder
from viridian_model.chain.delta import Trained
from viridian_model.chain.roots import Roots
from viridian_model.publication import keys
from viridian_model.publication.head import Head
from viridian_model.served import state_of
from viridian_model.store import Store, open_store
from viridian_trainer.environment import OnlineInput, Update, VersionRef
from viridian_trainer.errors import Stopped
from viridian_trainer.eventlog import Window, read
from viridian_trainer.eventlog.parquet import ParquetEventLog
from viridian_trainer.folder_registry import FolderRegistry
from viridian_trainer.online.branch import Branch
from viridian_trainer.online.champion import Champion
from viridian_trainer.online.checkpoints import Checkpoints, Standing
from viridian_trainer.online.prequential import Prequential
from viridian_trainer.online.recovery import read_chain
from viridian_trainer.online.run import train_online
from viridian_trainer.online.status import Status
from viridian_trainer.spec import Data, Gate, Online, split_config
from viridian_trainer.stop import StopRequest
from viridian_trainer.training.checkpoint import Checkpoint

FIRST = 400
DEADLINE = 240
WITNESS = {**CONFIG, "batchSize": 8, "architecture": "witness:Witness", "dim": 4}
SCHEMA = {**FIELDS, "categorical": [*FIELDS["categorical"], "id"]}


@dataclass
class Site:
    """Everything below one folder."""

    folder: Path

    @property
    def log(self) -> ParquetEventLog:
        return ParquetEventLog(self.folder / "log")

    @property
    def registry(self) -> FolderRegistry:
        return FolderRegistry(self.folder / "registry")

    def found(self) -> Site:
        """Train the champion."""
        log = parquet(self.folder / "log", rows(0, FIRST))
        given = training(log, self.folder / "log", config=WITNESS, data=self.data)
        outcome, _ = train_in(self.folder / "registry", given, log)
        (self.folder / "parent.json").write_text(json.dumps({key: outcome[key] for key in ("version", "digest")}))
        return self

    def append(self, first: int, count: int, **knobs: Any) -> None:
        parquet(self.folder / "log", rows(first, count, **knobs))

    def append_rows(self, events: list[dict[str, Any]]) -> None:
        parquet(self.folder / "log", events)

    @property
    def data(self) -> Data:
        source = {"parquet": {"path": str(self.folder / "log")}}
        return Data.model_validate({"source": source, "schema": SCHEMA, "maxRejected": 0.5})

    def task(self, name: str = "a", online: Online | None = None, **changes: Any) -> OnlineInput:
        given = OnlineInput(
            update=Update("uid", "recsys", "ctr", 2, 1, "Incremental"),
            model_name="ctr",
            data=self.data,
            parent=VersionRef(**json.loads((self.folder / "parent.json").read_text())),
            store=f"file://{self.folder}/store",
            chain="ctr",
            online=online or Online(publish_interval=0.02, anchor_every=3600, anchor_events=10**6),
            gate=Gate(min_events=50, margin=0.5),
            config=WITNESS,
            seed=7,
            checkpoint_dir=self.folder / f"checkpoints-{name}",
        )
        return replace(given, **changes)

    @contextmanager
    def store(self) -> Iterator[Store]:
        store = open_store(f"file://{self.folder}/store", {})
        try:
            yield store
        finally:
            store.close()

    @property
    def head(self) -> Head | None:
        return self.head_of("ctr")

    def head_of(self, chain: str) -> Head | None:
        with self.store() as store:
            found = store.record(keys.head(chain)).read()
        return Head.parse(found.data) if found else None

    def run(self, task: OnlineInput, until: Callable[[dict[str, Any]], bool], **options: Any) -> dict[str, Any]:
        """Train online until the status fulfils ``until``; gives that status."""
        stop, seen, ended = StopRequest(), {}, Event()

        def watch(status: Status, _: Prequential) -> None:
            Thread(target=look, args=(status,), daemon=True).start()

        def look(status: Status) -> None:
            deadline = time.monotonic() + DEADLINE
            try:
                while not ended.is_set() and not until(status.read()):
                    assert time.monotonic() < deadline, status.read()
                    status.changed.wait(1.0)
                    status.changed.clear()
                seen.update(status.read())
            finally:
                stop.request()

        try:
            train_online(task, self.log, self.registry, stop, view=watch, **options)
        except Stopped:
            assert seen, "it was stopped in another state"
            return seen
        finally:
            ended.set()
        raise AssertionError("an online training ended by itself")

    def caught_up(self, told: dict[str, Any]) -> bool:
        return told.get("trainedTo") == self.log.heads()

    def promoted(self, told: dict[str, Any]) -> bool:
        """Caught up, and the last anchor became champion: no other waits for its verdict."""
        anchor = told.get("anchor") or {}
        first = json.loads((self.folder / "parent.json").read_text())
        return self.caught_up(told) and anchor.get("at", 0) is None and anchor.get("digest") != first["digest"]


@dataclass
class Left:
    """What a trainer that was stopped left on disk."""

    site: Site
    task: OnlineInput
    saved: Checkpoint
    standing: Standing
    champion: Champion

    @classmethod
    def by(cls, site: Site, task: OnlineInput) -> Left:
        checkpoints = Checkpoints(task)
        saved = checkpoints.open()
        checkpoints.close()
        assert saved is not None
        standing = Standing.load(saved.meta["standing"])
        version, digest = standing.champion
        bundle = read_bundle(site.folder / "registry" / "ctr" / version / "bundle", digest)
        return cls(site, task, saved, standing, Champion(version, bundle))

    def branch(self) -> Branch:
        config, _ = split_config(self.task.config)
        schema = self.task.data.event_schema
        return Branch(self.task, config, self.champion, Prequential(1000, [], schema), self.site.log)

    def branch_as_saved(self) -> Branch:
        found = self.branch()
        found.load_state(self.saved.tensors, self.saved.meta["branch"])
        return found

    def branch_without_disturbance(self) -> Branch:
        """The same batches in one go, from the champion."""
        found = self.branch()
        passage = self.saved.meta["branch"]["passage"]
        assert passage["start"] == found.learner.offsets
        for to in passage["batches"]:
            start = {name: found.learner.offsets[name] for name in to}
            found.train(list(read(self.site.log, Window(start, to), self.task.data.event_schema)))
        return found

    def is_served(self, head: Head) -> bool:
        """Whether readers of the chain have the saved weights, but for what the deltas round."""
        anchor = state_of(self.champion.model).copy()
        with self.site.store() as store:
            served = read_chain(store, "ctr", head, anchor)
        assert served is not None
        state = state_of(self.branch_as_saved().learner.model)
        builder = DeltaBuilder("ctr", head.anchor.digest, served, self.task.online.selection)
        rows = {name: np.arange(table.rows) for name, table in state.tables.items()}
        return builder.build(state, rows, Trained(trained_to={}), everything=True) is None


def root_of(branch: Branch) -> str:
    return Roots.of(state_of(branch.learner.model)).root
