"""Train a version again from its manifest and the event log, and compare bit for bit."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from viridian_model.bundle import Bundle
from viridian_model.manifest import Manifest
from viridian_trainer.download import fetch_bundle
from viridian_trainer.environment import TrainInput, Update, VersionRef
from viridian_trainer.errors import BadData, BadUsage
from viridian_trainer.eventlog import EventLog, Window
from viridian_trainer.export import export
from viridian_trainer.gang.group import Group
from viridian_trainer.gang.local import together
from viridian_trainer.registry import Registry, VersionMissing
from viridian_trainer.spec import Data, parse_part, split_config
from viridian_trainer.stop import StopRequest
from viridian_trainer.training import Trained, follow, train
from viridian_trainer.training.checkpoint import CheckpointStore
from viridian_trainer.training.progress import Observer, Watch
from viridian_trainer.training.train import identity


@dataclass(frozen=True)
class Reproduced:
    """The digest that came out, and what differs from the recorded manifest if it is another one."""

    digest: str
    differs: tuple[str, ...]
    #: the image that trained the version, "" if it was not told
    image: str


def reproduce(
    open_log: Callable[[], EventLog],
    registry: Registry,
    model: str,
    version: VersionRef,
    stop: StopRequest,
    watch: Watch | None = None,
) -> Reproduced:
    """Repeat the training of ``version`` on the CPU; nothing is registered.

    What several processes trained is trained by as many here, each of which calls ``open_log``; it must be picklable.
    The version and image of the code are taken over from the manifest: they are what may differ on purpose.

    Raises
    ------
    BadData
        If the version or its parent cannot be read, or its manifest does not say what it was made from.
    DataTrimmed
        If the log no longer holds the window.
    """
    with tempfile.TemporaryDirectory(prefix="viridian-") as name:
        folder = Path(name)
        recorded = _bundle(registry, model, version, folder).manifest
        task = task_of(recorded, folder / "checkpoints")
        parent = _bundle(registry, model, task.parent, folder) if task.parent else None
        store = CheckpointStore(task.checkpoint_dir, task.update, identity(task))
        observer = Observer(watch=watch)
        if task.ranks == 1:
            trained = train(task, open_log(), parent, store, stop, observer)
        else:
            trained = _train_together(task, open_log, parent, store, stop, observer)
        exported = export(task, trained, parent, folder / "again", recorded.code)
        again = Manifest.from_json(json.loads((exported.folder / "manifest.json").read_bytes()))
    return Reproduced(exported.digest, _differences(recorded, again), recorded.code.image)


def task_of(manifest: Manifest, checkpoints: Path) -> TrainInput:
    """The inputs of the training that a manifest records.

    Raises
    ------
    BadData
        If it was written by a trainer that did not record them.
    BadUsage
        If several processes with GPUs trained it, whose sums are not repeated bit for bit anywhere.
    """
    inputs = (manifest.model_extra or {}).get("inputs")
    if not isinstance(inputs, dict):
        raise BadData("the manifest does not record the inputs of its training; it was made by another trainer")
    ranks = int(inputs.get("ranks", 1))
    if ranks > 1 and (device := split_config(inputs["config"])[0].device) != "cpu":
        raise BadUsage(
            f"{ranks} processes trained this version on {device}, which gives other bits each time: "
            "check its ledger with viridian-trainer inspect --parquet or --source instead"
        )
    uid, _, number = str(inputs["update"]).rpartition("/")
    parent = manifest.parent
    data: dict[str, Any] = {**inputs["data"], "source": {"parquet": {"path": "."}}}
    return TrainInput(
        update=Update(uid, "replay", manifest.model, int(number), 1, manifest.kind),
        model_name=manifest.model,
        data=parse_part(Data, data, "inputs.data of the manifest"),
        parent=VersionRef(parent.version, parent.digest) if parent else None,
        window=Window(manifest.window.start, manifest.window.to),
        fresh=inputs["fresh"],
        config=inputs["config"],
        seed=manifest.seed,
        checkpoint_dir=checkpoints,
        split=inputs.get("split", "Holdout"),
        ranks=ranks,
    )


def _train_together(
    task: TrainInput,
    open_log: Callable[[], EventLog],
    parent: Bundle | None,
    store: CheckpointStore,
    stop: StopRequest,
    observer: Observer,
) -> Trained:
    with together(task.ranks, partial(_follow, task, open_log)) as group:
        return train(task, open_log(), parent, store, stop, observer, group)


def _follow(task: TrainInput, open_log: Callable[[], EventLog], group: Group) -> None:
    """What the other processes do."""
    store = CheckpointStore(task.checkpoint_dir, task.update, identity(task))
    follow(task, open_log(), store, StopRequest(), group)


def _bundle(registry: Registry, model: str, version: VersionRef, folder: Path) -> Bundle:
    try:
        return fetch_bundle(registry, model, version, folder)
    except VersionMissing as error:
        raise BadData(str(error)) from error


def _differences(recorded: Manifest, again: Manifest) -> tuple[str, ...]:
    """Names of the fields and files in which two manifests differ."""
    a, b = recorded.to_json(), again.to_json()
    fields = [name for name in sorted({*a, *b} - {"files"}) if a.get(name) != b.get(name)]
    files = [name for name in sorted({*a["files"], *b["files"]}) if a["files"].get(name) != b["files"].get(name)]
    return (*fields, *files)
