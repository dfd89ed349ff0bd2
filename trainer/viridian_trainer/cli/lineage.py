"""``inspect`` and ``replay``: where a version comes from, and the proof by doing it again."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from viridian_trainer import registry as tags
from viridian_trainer.cli.console import bar, console, explained, show
from viridian_trainer.cli.options import (
    LogOption,
    ModelOption,
    RegistryOption,
    SourceOption,
    event_log,
    open_registry,
    store_version,
)
from viridian_trainer.environment import VersionRef
from viridian_trainer.errors import BadData, BadUsage
from viridian_trainer.eventlog import EventLog
from viridian_trainer.lineage import Link, check_ledger, lineage
from viridian_trainer.registry import Registry
from viridian_trainer.reproduce import reproduce
from viridian_trainer.stop import StopRequest

VersionArgument = Annotated[str, typer.Argument(help="number of the version")]


@explained
def inspect(
    version: VersionArgument,
    registry: RegistryOption = "registry",
    model: ModelOption = "local",
    parquet: LogOption = None,
    source: SourceOption = None,
) -> None:
    """Show a version's lineage down to the offsets of its events; with an event log, check that it used each once."""
    store = open_registry(registry)
    links = lineage(store, model, _wanted(store, model, version))
    console.print(_provenance(links))
    log = event_log(parquet, source)
    if log is None:
        return
    found = check_ledger(log, links)
    counts = {name: getattr(found, name) for name in ("entries", "events", "duplicates", "rejected")}
    show("Trained on, as the event log says", counts)
    if found.problems:
        raise BadData("; ".join(found.problems[:5]))
    console.print("Every event of the lineage was trained on exactly once.")


@explained
def replay(
    version: VersionArgument,
    registry: RegistryOption = "registry",
    model: ModelOption = "local",
    parquet: LogOption = None,
    source: SourceOption = None,
) -> None:
    """Train a version again from its manifest and compare bit for bit; ends with 65 if anything differs."""
    store, stop = open_registry(registry), StopRequest()
    opened = partial(_log, parquet, source)
    opened()
    stop.install()
    wanted = _wanted(store, model, version)
    with bar("training again", None) as (progress, job):
        again = reproduce(
            opened,
            store,
            model,
            wanted,
            stop,
            lambda done, total: progress.update(job, completed=done, total=total),
        )
    if again.digest != wanted.digest:
        by = f" by {again.image}" if again.image else ""
        raise BadData(
            f"version {version} came out as {again.digest}: {', '.join(again.differs)} differ; it was trained{by}, and "
            "another build of torch or another processor may round differently: repeat it with that image"
        )
    show(f"{model} version {version}", {"digest": again.digest, "result": "identical, bit for bit"})


def _log(parquet: Path | None, source: str | None) -> EventLog:
    if (log := event_log(parquet, source)) is None:
        raise BadUsage("name the event log: --parquet or --source")
    return log


def _wanted(store: Registry, model: str, version: str) -> VersionRef:
    return VersionRef(version, store_version(store, model, version).tags[tags.DIGEST])


def _provenance(links: list[Link]) -> Table:
    newest = links[-1].manifest
    table = Table(title=f"{newest.model}: lineage {newest.lineage}", title_justify="left")
    for column in ("version", "digest", "kind", "events", "trained on, by partition"):
        table.add_column(column)
    for link in links:
        manifest, partitions = link.manifest, link.trained.partitions
        offsets = (f"{name}: {manifest.window.start[name]} to {manifest.trained_to[name]}" for name in partitions)
        digest = link.version.digest.removeprefix("sha256:")[:12]
        events = str(manifest.events["trained"])
        table.add_row(link.version.version, digest, manifest.kind, events, "\n".join(offsets))
    return table
