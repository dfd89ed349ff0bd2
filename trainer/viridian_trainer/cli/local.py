"""``train`` and ``evaluate`` on this machine, over a folder of Parquet segments, without a cluster."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from viridian_trainer import registry as tags
from viridian_trainer.cli.console import bar, console, explained, show
from viridian_trainer.environment import EvaluateInput, TrainInput, Update, VersionRef
from viridian_trainer.errors import BadUsage
from viridian_trainer.eventlog import Window
from viridian_trainer.eventlog.parquet import ParquetEventLog
from viridian_trainer.folder_registry import FolderRegistry
from viridian_trainer.registry import Registered, Registry, VersionMissing
from viridian_trainer.spec import Data, Gate, parse_part
from viridian_trainer.stop import StopRequest
from viridian_trainer.task import evaluate_task, train_task

ParquetOption = Annotated[Path, typer.Option(help="directory of segments, as written by generate")]
RegistryOption = Annotated[str, typer.Option(help="a folder, or an address of MLflow (http://… or sqlite:///…)")]
JsonOption = typer.Option(help="JSON, as in the ModelUpdate")

DEFAULT_DATA = '{"schema": {"categorical": ["user", "item", "hour"]}, "holdout": {"fraction": 0.1}}'


@explained
def train(
    parquet: ParquetOption,
    registry: RegistryOption = "registry",
    model: Annotated[str, typer.Option(help="name of the model")] = "local",
    full: Annotated[bool, typer.Option("--full", help="start a new lineage from the earliest event")] = False,
    parent: Annotated[str | None, typer.Option(help="version to go on from; else the newest")] = None,
    config: Annotated[str, JsonOption] = "{}",
    data: Annotated[str, JsonOption] = DEFAULT_DATA,
    seed: Annotated[int, typer.Option(min=0)] = 7,
    checkpoints: Annotated[Path, typer.Option(help="where checkpoints are kept")] = Path("checkpoints"),
) -> None:
    """Train the next version on everything appended since its parent, and register it."""
    store = _open(registry)
    newest = store.newest(model)
    start = None if full else (store_version(store, model, parent) if parent else newest)
    log = ParquetEventLog(parquet)
    window = Window(json.loads(start.tags[tags.TRAINED_TO]) if start else log.earliest(), log.heads())
    number = int(newest.tags[tags.UPDATE].rpartition("/")[2]) + 1 if newest else 1
    task = TrainInput(
        update=Update("local", "local", model, number, 1, "Incremental" if start else "Full"),
        model_name=model,
        data=_data(data, parquet),
        parent=_reference(start),
        window=window,
        fresh=dict(json.loads(newest.tags[tags.TRAINED_TO]) if newest else window.start),
        config=_object(config, "--config"),
        seed=seed,
        checkpoint_dir=checkpoints,
    )
    stop = StopRequest()
    stop.install()
    with bar("training", None) as (progress, job):
        outcome = train_task(
            task, log, store, stop, lambda done, total: progress.update(job, completed=done, total=total)
        )
    show(f"{model} version {outcome['version']}", _train_rows(outcome))


@explained
def evaluate(
    parquet: ParquetOption,
    registry: RegistryOption = "registry",
    model: Annotated[str, typer.Option(help="name of the model")] = "local",
    candidate: Annotated[str | None, typer.Option(help="version to judge; else the newest")] = None,
    champion: Annotated[str | None, typer.Option(help="version to compare with; else the candidate's parent")] = None,
    gate: Annotated[str, JsonOption] = "{}",
    data: Annotated[str, JsonOption] = DEFAULT_DATA,
) -> None:
    """Judge a version on the events that were held out when it was trained."""
    store = _open(registry)
    judged = store_version(store, model, candidate) if candidate else store.newest(model)
    if judged is None:
        raise BadUsage(f"registry {registry} holds no version of model {model}; run train first")
    against = store_version(store, model, champion) if champion else _parent(store, model, judged)
    task = EvaluateInput(
        update=Update("local", "local", model, int(judged.tags[tags.UPDATE].rpartition("/")[2]), 1, "Incremental"),
        model_name=model,
        data=_data(data, parquet),
        parent=_reference(against),
        candidate=VersionRef(judged.version, judged.tags[tags.DIGEST]),
        reference=None,
        holdout=Window.parse(judged.result["holdout"]),
        gate=parse_part(Gate, _object(gate, "--gate"), "--gate"),
    )
    with console.status("judging"):
        outcome = evaluate_task(task, ParquetEventLog(parquet), store)
    show(f"{model} version {judged.version}: {outcome['verdict']} ({outcome['reason']})", _verdict_rows(outcome))


def store_version(store: Registry, model: str, number: str) -> Registered:
    """One version.

    Raises
    ------
    BadUsage
        If there is no such version.
    """
    try:
        return store.version(model, number)
    except VersionMissing as error:
        raise BadUsage(str(error)) from None


def _open(address: str) -> Registry:
    if "://" not in address:
        return FolderRegistry(Path(address))
    from viridian_trainer.registration import MlflowRegistry

    return MlflowRegistry(address)


def _parent(store: Registry, model: str, judged: Registered) -> Registered | None:
    """The version that ``judged`` started from, if it is there."""
    digest = judged.tags.get(tags.PARENT)
    for number in range(int(judged.version) - 1, 0, -1) if digest else ():
        try:
            found = store.version(model, str(number))
        except VersionMissing:
            continue
        if found.tags.get(tags.DIGEST) == digest:
            return found
    return None


def _reference(found: Registered | None) -> VersionRef | None:
    return VersionRef(found.version, found.tags[tags.DIGEST]) if found else None


def _object(text: str, option: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise BadUsage(f"{option} must be a JSON object")
    return value


def _data(text: str, parquet: Path) -> Data:
    return parse_part(Data, {**_object(text, "--data"), "source": {"parquet": {"path": str(parquet)}}}, "--data")


def _train_rows(outcome: dict[str, Any]) -> dict[str, Any]:
    seconds = ", ".join(f"{name} {value:.1f}" for name, value in outcome["seconds"].items())
    return {"digest": outcome["digest"], **outcome["events"], **outcome["metrics"], "seconds": seconds}


def _verdict_rows(outcome: dict[str, Any]) -> dict[str, Any]:
    rows = {"why": outcome["message"], "events": outcome["events"], "users": outcome["users"]}
    for name, metrics in outcome["metrics"].items():
        rows |= {f"{name} {metric}": value for metric, value in metrics.items()}
    return rows
