"""``join``: impressions and delayed labels in Redis Streams become the events that models train on."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Annotated

import typer

from viridian_trainer import logs
from viridian_trainer.cli.console import explained, show
from viridian_trainer.cli.options import redis_source
from viridian_trainer.errors import Stopped
from viridian_trainer.eventlog.redis_join import RedisLabelJoin
from viridian_trainer.joiner import Joiner, follow
from viridian_trainer.stop import StopRequest


@explained
def join(
    redis: Annotated[str, typer.Option(help="address of Redis; credentials are VIRIDIAN_REDIS_USERNAME and _PASSWORD")],
    horizon: Annotated[float, typer.Option(min=0, help="seconds after which an impression counts as negative")],
    impressions: Annotated[str, typer.Option(help="prefix of the streams of impressions")] = "impressions",
    labels: Annotated[str, typer.Option(help="prefix of the streams of labels")] = "labels",
    stream: Annotated[str, typer.Option(help="prefix of the streams of events")] = "clicks",
    partitions: Annotated[int, typer.Option(min=1)] = 4,
    id_field: Annotated[str, typer.Option("--id", help="field with the request id, in both")] = "id",
    time_field: Annotated[str, typer.Option("--time", help="field with the time, in both")] = "ts",
    label_field: Annotated[str, typer.Option("--label", help="field with the label, of labels and events")] = "label",
    go_on: Annotated[bool, typer.Option("--follow", help="go on for ever")] = False,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="port of metrics, with --follow")] = None,
) -> None:
    """Make one event of every impression, with its label by request id or 0 when the horizon is over."""
    fields = {"id": id_field, "time": time_field, "label": label_field}
    source = redis_source(redis, stream, partitions, os.environ)
    joiner = Joiner(RedisLabelJoin(source, impressions, labels, horizon, fields), partitions)
    stop = StopRequest()
    stop.install()
    if go_on:
        logs.configure()
        with suppress(Stopped):
            follow(joiner, port, stop)
    else:
        joiner.round()
    show("Joined so far", joiner.totals)
