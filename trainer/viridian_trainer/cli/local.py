"""``train`` and ``evaluate`` on this machine, over a folder of Parquet segments, without a cluster."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from viridian_trainer import registry as tags
from viridian_trainer.cli.console import bar, console, explained, show
from viridian_trainer.cli.options import (
    DEFAULT_DATA,
    JsonOption,
    ModelOption,
    ParquetOption,
    RegistryOption,
    json_object,
    local_data,
    open_registry,
    reference,
    store_version,
)
from viridian_trainer.environment import EvaluateInput, TrainInput, Update, VersionRef
from viridian_trainer.errors import BadUsage
from viridian_trainer.evaluation_task import evaluate_task
from viridian_trainer.eventlog import Window
from viridian_trainer.eventlog.parquet import ParquetEventLog
from viridian_trainer.registry import Registered, Registry, VersionMissing
from viridian_trainer.spec import Gate, parse_part
from viridian_trainer.stop import StopRequest
from viridian_trainer.training_task import train_task
from viridian_trainer.window import predicted_window


@explained
def train(
    parquet: ParquetOption,
    registry: RegistryOption = "registry",
    model: ModelOption = "local",
    full: Annotated[bool, typer.Option("--full", help="start a new lineage from the earliest event")] = False,
    parent: Annotated[str | None, typer.Option(help="version to go on from; else the newest")] = None,
    config: Annotated[str, JsonOption] = "{}",
    data: Annotated[str, JsonOption] = DEFAULT_DATA,
    gate: Annotated[str, JsonOption] = "{}",
    seed: Annotated[int, typer.Option(min=0)] = 7,
    checkpoints: Annotated[Path, typer.Option(help="where checkpoints are kept")] = Path("checkpoints"),
) -> None:
    """Train the next version on everything appended since its parent, and register it."""
    store = open_registry(registry)
    newest = store.newest(model)
    start = None if full else (store_version(store, model, parent) if parent else newest)
    log = ParquetEventLog(parquet)
    window = Window(json.loads(start.tags[tags.TRAINED_TO]) if start else log.earliest(), log.heads())
    number = int(newest.tags[tags.UPDATE].rpartition("/")[2]) + 1 if newest else 1
    task = TrainInput(
        update=Update("local", "local", model, number, 1, "Incremental" if start else "Full"),
        model_name=model,
        data=local_data(data, parquet),
        parent=reference(start),
        window=window,
        fresh=dict(json.loads(newest.tags[tags.TRAINED_TO]) if newest else window.start),
        config=json_object(config, "--config"),
        seed=seed,
        checkpoint_dir=checkpoints,
        split=parse_part(Gate, json_object(gate, "--gate"), "--gate").split,
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
    model: ModelOption = "local",
    candidate: Annotated[str | None, typer.Option(help="version to judge; else the newest")] = None,
    champion: Annotated[str | None, typer.Option(help="version to compare with; else the candidate's parent")] = None,
    gate: Annotated[str, JsonOption] = "{}",
    data: Annotated[str, JsonOption] = DEFAULT_DATA,
) -> None:
    """Judge a version on the events that were held out, or predicted first, when it was trained."""
    store = open_registry(registry)
    judged = store_version(store, model, candidate) if candidate else store.newest(model)
    if judged is None:
        raise BadUsage(f"registry {registry} holds no version of model {model}; run train first")
    rules, predicted = parse_part(Gate, json_object(gate, "--gate"), "--gate"), predicted_window(judged.result)
    if (rules.split == "Prequential") != (predicted is not None):
        raise BadUsage(
            f"version {judged.version} was trained with another gate.split; give train and evaluate the same"
        )
    against = store_version(store, model, champion) if champion else _parent(store, model, judged)
    task = EvaluateInput(
        update=Update("local", "local", model, int(judged.tags[tags.UPDATE].rpartition("/")[2]), 1, "Incremental"),
        model_name=model,
        data=local_data(data, parquet),
        parent=reference(against),
        candidate=VersionRef(judged.version, judged.tags[tags.DIGEST]),
        reference=None,
        holdout=Window.parse(judged.result["holdout"]),
        gate=rules,
        predicted=predicted,
    )
    with console.status("judging"):
        outcome = evaluate_task(task, ParquetEventLog(parquet), store)
    show(f"{model} version {judged.version}: {outcome['verdict']} ({outcome['reason']})", _verdict_rows(outcome))


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


def _train_rows(outcome: dict[str, Any]) -> dict[str, Any]:
    seconds = ", ".join(f"{name} {value:.1f}" for name, value in outcome["seconds"].items())
    return {"digest": outcome["digest"], **outcome["events"], **outcome["metrics"], "seconds": seconds}


def _verdict_rows(outcome: dict[str, Any]) -> dict[str, Any]:
    rows = {"why": outcome["message"], "events": outcome["events"], "users": outcome["users"]}
    for name, metrics in outcome["metrics"].items():
        rows |= {f"{name} {metric}": value for metric, value in metrics.items()}
    return rows
