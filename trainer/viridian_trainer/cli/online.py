"""``online``: train on events as they come, publish deltas, and judge anchors here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Annotated, Any

import typer
from rich.live import Live
from rich.table import Table

from viridian_trainer.cli.console import errors, explained
from viridian_trainer.cli.options import (
    DEFAULT_DATA,
    JsonOption,
    LogOption,
    ModelOption,
    RegistryOption,
    SourceOption,
    json_object,
    open_registry,
    reference,
    store_version,
)
from viridian_trainer.environment import OnlineInput, Update, VersionRef, chain_of, checked
from viridian_trainer.errors import BadUsage
from viridian_trainer.eventlog.source import open_log
from viridian_trainer.folder_registry import FolderRegistry
from viridian_trainer.loop import Journal
from viridian_trainer.online.prequential import Prequential
from viridian_trainer.online.run import train_online
from viridian_trainer.online.server import online_status
from viridian_trainer.online.status import Status
from viridian_trainer.registry import Registry
from viridian_trainer.spec import Data, Gate, Online, parse_part
from viridian_trainer.stop import StopRequest

#: Local trainings are told from each other by the name of their model.
UID = "local"
REFRESH_SECONDS = 0.5


@explained
def online(
    parquet: LogOption = None,
    source: SourceOption = None,
    store: Annotated[str, typer.Option(help="where deltas go: file:///FOLDER, redis://HOST:PORT/DB or s3://…")] = "",
    chain: Annotated[str, typer.Option(help="name of the chain in the store; else that of the model")] = "",
    registry: RegistryOption = "registry",
    model: ModelOption = "local",
    parent: Annotated[str | None, typer.Option(help="version to start from; else the champion, or the newest")] = None,
    settings: Annotated[str, typer.Option("--online", help="JSON, as VIRIDIAN_ONLINE")] = "{}",
    config: Annotated[str, JsonOption] = "{}",
    data: Annotated[str, JsonOption] = DEFAULT_DATA,
    gate: Annotated[str, JsonOption] = "{}",
    seed: Annotated[int, typer.Option(min=0)] = 7,
    checkpoints: Annotated[Path, typer.Option(help="where checkpoints are kept")] = Path("checkpoints"),
    port: Annotated[int | None, typer.Option(help="port of status and metrics")] = None,
) -> None:
    """Train on every event as it comes and publish what changes, until stopped; start it again and it goes on."""
    versions = open_registry(registry)
    given = _data(data, parquet, source)
    task = checked(
        OnlineInput(
            update=Update(UID, UID, model, 0, 1, "Incremental"),
            model_name=model,
            data=given,
            parent=_parent(versions, model, parent),
            store=store or (Path("store").resolve().as_uri()),
            chain=chain_of(chain, model, "--chain"),
            online=parse_part(Online, json_object(settings, "--online"), "--online"),
            gate=parse_part(Gate, json_object(gate, "--gate"), "--gate"),
            config=json_object(config, "--config"),
            seed=seed,
            checkpoint_dir=checkpoints,
            port=port,
        )
    )
    stop = StopRequest()
    stop.install()
    with _Screen().shown() as view:
        train_online(task, open_log(given.source, os.environ), versions, stop, local=True, view=view.follow)


def _data(text: str, parquet: Path | None, source: str | None) -> Data:
    if (parquet is None) == (source is None):
        raise BadUsage("name one of --parquet and --source")
    place = {"parquet": {"path": str(parquet)}} if parquet else json_object(source or "", "--source")
    return parse_part(Data, {**json_object(text, "--data"), "source": place}, "--data")


def _parent(versions: Registry, model: str, wanted: str | None) -> VersionRef:
    """The version that was named, the champion of the loop in this folder, or the newest.

    Raises
    ------
    BadUsage
        If there is no version.
    """
    if wanted is not None:
        found = reference(store_version(versions, model, wanted))
    elif isinstance(versions, FolderRegistry) and (champion := Journal(versions.journal(model)).champion):
        found = champion.candidate
    else:
        found = reference(versions.newest(model))
    if found is None:
        raise BadUsage(f"the registry holds no version of model {model}; make one with viridian-trainer train --full")
    return found


class _Screen:
    """A table on standard error that is drawn anew twice a second."""

    def __init__(self) -> None:
        self._live = Live(console=errors, auto_refresh=False)
        self._ended = Event()

    @contextmanager
    def shown(self) -> Iterator[_Screen]:
        """While this lasts."""
        with self._live:
            yield self
            self._ended.set()

    def follow(self, status: Status, prequential: Prequential) -> None:
        """Draw what these tell from now on."""
        Thread(target=self._draw, args=(status, prequential), name="view", daemon=True).start()

    def _draw(self, status: Status, prequential: Prequential) -> None:
        while not self._ended.wait(REFRESH_SECONDS):
            self._live.update(view_of(online_status(status, prequential)), refresh=True)


def view_of(told: dict[str, Any]) -> Table:
    """The status as a table."""
    table = Table(title=f"{told['state']} {told.get('sequence', '')}", title_justify="left")
    for column in ("", "online", "champion"):
        table.add_column(column)
    quality = told["prequential"]
    for metric in ("logloss", "auroc", "accuracy", "recall"):
        table.add_row(metric, *(_number(quality[side].get(metric)) for side in ("online", "champion")))
    for name, part in quality["slices"].items():
        table.add_row(f"logloss of {name}", *(_number(part[side].get("logloss")) for side in ("online", "champion")))
    if "lag" in told:
        lag, sent, test = told["lag"], told["published"], told["test"]
        table.add_section()
        table.add_row("lag", f"{lag['events']} events", f"{lag['seconds']:.1f} s")
        table.add_row("published", f"{sent['deltas']} deltas", f"{sent['bytes'] / 1e6:.1f} MB")
        table.add_row("test", f"{test['verdict']}, p = {test['bound']:.2g}", f"{test['events']} events")
        table.add_row("anchor", str(told["anchor"]["version"] or "being registered"), f"{told['reverts']} reverts")
    if told["error"]:
        table.add_section()
        table.add_row("because", str(told["error"]))
    return table


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
