"""``generate``: append synthetic or MovieLens events to Redis Streams or Parquet segments."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from itertools import chain, count, islice
from pathlib import Path
from typing import Annotated, Any

import typer

from viridian_trainer import movielens
from viridian_trainer.cli.console import bar, explained, show
from viridian_trainer.cli.options import redis_source
from viridian_trainer.errors import BadUsage
from viridian_trainer.publish import to_parquet, to_redis
from viridian_trainer.synthetic import SyntheticConfig, World

Fraction = Annotated[float, typer.Option(min=0, max=1)]


class Data(StrEnum):
    """Where events come from."""

    SYNTHETIC = "synthetic"
    MOVIELENS = "movielens"


@explained
def generate(
    redis: Annotated[str | None, typer.Option(help="append to Redis Streams at this address")] = None,
    stream: Annotated[str, typer.Option(help="prefix of the streams")] = "clicks",
    parquet: Annotated[Path | None, typer.Option(help="append to Parquet segments in this directory")] = None,
    partitions: Annotated[int, typer.Option(min=1)] = 4,
    data: Annotated[Data, typer.Option(help="which events")] = Data.SYNTHETIC,
    events: Annotated[int, typer.Option(min=1, help="how many events")] = 20_000,
    first: Annotated[int, typer.Option(min=0, help="number of the first event: continues a stream")] = 0,
    seed: Annotated[int, typer.Option(min=0)] = 7,
    rate: Annotated[float | None, typer.Option(min=0.1, help="events per second; without it, all at once")] = None,
    follow: Annotated[bool, typer.Option("--follow", help="go on for ever after the events")] = False,
    flip_labels: Annotated[bool, typer.Option("--flip-labels", help="poison: every label is inverted")] = False,
    drift: Annotated[str, typer.Option(help="event numbers at which tastes change, as 20000,40000")] = "",
    duplicates: Annotated[float, typer.Option(min=0, max=1, help="fraction of events delivered twice")] = 0.0,
    late: Annotated[float, typer.Option(min=0, max=1, help="fraction of events that come 600 s late")] = 0.0,
    start: Annotated[float | None, typer.Option(help="time of the first event; else the last one is now")] = None,
) -> None:
    """Append events to an event log; the partition follows from the user."""
    if (redis is None) == (parquet is None):
        raise BadUsage("name exactly one of --redis and --parquet")
    if follow and (rate is None or redis is None):
        raise BadUsage("--follow needs --redis and --rate")
    spacing = 1.0 if rate is None else 1.0 / rate
    begin = start if start is not None else time.time() - (0 if rate else events * spacing)
    config = SyntheticConfig(
        seed=seed,
        start=begin - first * spacing,
        spacing=spacing,
        change_points=_numbers(drift),
        flip_labels=float(flip_labels),
        duplicates=duplicates,
        late=late,
    )
    rows = (
        _movielens(first, events, begin, rate, flip_labels)
        if data is Data.MOVIELENS
        else _synthetic(config, first, events, follow)
    )
    begun, sent = time.monotonic(), 0
    with bar("appending", None if follow else events) as (progress, task):

        def advance(size: int) -> None:
            nonlocal sent
            sent += size
            progress.advance(task, size)

        if redis is not None:
            to_redis(redis_source(redis, stream, partitions, os.environ), rows, rate, advance)
        elif parquet is not None:
            to_parquet(parquet, partitions, rows, advance)
    seconds = time.monotonic() - begun
    show(
        "Appended", {"events": sent, "partitions": partitions, "seconds": seconds, "events per second": sent / seconds}
    )


def _numbers(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not all(part.isdigit() for part in parts):
        raise BadUsage("--drift is a list of event numbers as 20000,40000")
    return tuple(sorted(int(part) for part in parts))


def _synthetic(config: SyntheticConfig, first: int, events: int, follow: bool) -> Iterator[Mapping[str, Any]]:
    world = World(config)
    portions: Iterable[Any] = [world.events(first, events)]
    if follow:
        portions = chain(portions, (world.events(begin, 1000) for begin in count(first + events, 1000)))
    return (impression.row for impression in chain.from_iterable(portions))


def _movielens(first: int, events: int, begin: float, rate: float | None, flip: bool) -> Iterator[Mapping[str, Any]]:
    """Ratings in their order; with a rate they carry the time at which they are sent."""
    for position, row in enumerate(islice(movielens.events(), first, first + events)):
        moment = {"ts": begin + position / rate} if rate else {}
        yield {**row, **moment, "label": 1 - row["label"] if flip else row["label"]}
