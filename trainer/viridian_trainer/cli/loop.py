"""``loop``: data, training, gate and promotion over one folder, until the events run out."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

from viridian_trainer.cli.console import LoopBars, console, explained, show
from viridian_trainer.cli.options import (
    DEFAULT_DATA,
    JsonOption,
    ModelOption,
    ParquetOption,
    json_object,
    local_data,
)
from viridian_trainer.eventlog import EventLog, count_before
from viridian_trainer.eventlog.parquet import ParquetEventLog
from viridian_trainer.folder_registry import FolderRegistry
from viridian_trainer.loop import Loop, LoopSettings
from viridian_trainer.spec import Gate, parse_part
from viridian_trainer.stop import StopRequest

POLL_SECONDS = 0.5


@explained
def loop(
    parquet: ParquetOption,
    registry: Annotated[Path, typer.Option(help="folder of versions and decisions")] = Path("registry"),
    model: ModelOption = "local",
    interval: Annotated[int, typer.Option(min=1, help="entries that start the next update")] = 2000,
    first: Annotated[int | None, typer.Option(min=1, help="entries of the first update; else the interval")] = None,
    full_every: Annotated[int, typer.Option(min=0, help="retrain on everything every so many versions")] = 0,
    config: Annotated[str, JsonOption] = "{}",
    data: Annotated[str, JsonOption] = DEFAULT_DATA,
    gate: Annotated[str, JsonOption] = "{}",
    seed: Annotated[int, typer.Option(min=0)] = 7,
    checkpoints: Annotated[Path, typer.Option(help="where checkpoints are kept")] = Path("checkpoints"),
    evidence: Annotated[bool, typer.Option(help="keep predictions and report of every evaluation")] = True,
    follow: Annotated[bool, typer.Option("--follow", help="wait for more events at the end")] = False,
) -> None:
    """Keep a model fresh: update after update over everything appended; start it again and it goes on."""
    settings = LoopSettings(
        model=model,
        data=local_data(data, parquet),
        checkpoints=checkpoints,
        interval=interval,
        first=first or interval,
        full_every=full_every,
        config=json_object(config, "--config"),
        gate=parse_part(Gate, json_object(gate, "--gate"), "--gate"),
        seed=seed,
        evidence=evidence,
    )
    log, stop = ParquetEventLog(parquet), StopRequest()
    stop.install()
    with LoopBars() as bars:
        work = Loop(log, FolderRegistry(registry), settings, stop, bars.training)
        while True:
            _go_on(work, log, bars)
            if not follow:
                break
            time.sleep(POLL_SECONDS)
    _summary(work)


def _go_on(work: Loop, log: EventLog, bars: LoopBars) -> None:
    """Do what is due, and show how far the champion has come."""
    bars.log(_reached(work), _total(log))
    for record in work.updates():
        version = f"version {record.candidate.version}" if record.candidate else "no version"
        bars.say(f"update {record.number} ({record.kind}): {version}, {record.verdict} ({record.reason})")
        bars.log(_reached(work), _total(log))


def _reached(work: Loop) -> int:
    champion = work.journal.champion
    return sum(count_before(offset) for offset in champion.trained_to.values()) if champion else 0


def _total(log: EventLog) -> int:
    return sum(count_before(offset) for offset in log.heads().values())


def _summary(work: Loop) -> None:
    records, champion = work.journal.records, work.journal.champion
    verdicts = Counter(str(record.verdict) for record in records)
    rows: dict[str, Any] = dict(sorted(verdicts.items()))
    if champion and champion.candidate:
        rows |= {"champion": champion.candidate.version, "digest": champion.candidate.digest}
    show(f"{len(records)} updates", rows)
    if not records:
        console.print("The log holds fewer entries than one interval.")
