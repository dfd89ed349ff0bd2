"""``join``: impressions and delayed labels in Redis Streams become the events that models train on."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from viridian_trainer.cli.console import explained, show
from viridian_trainer.eventlog.redis_join import RedisLabelJoin
from viridian_trainer.eventlog.redis_stream import RedisSource
from viridian_trainer.stop import StopRequest

PAUSE_SECONDS = 0.5


@explained
def join(
    redis: Annotated[str, typer.Option(help="address of Redis")],
    horizon: Annotated[float, typer.Option(min=0, help="seconds after which an impression counts as negative")],
    impressions: Annotated[str, typer.Option(help="prefix of the streams of impressions")] = "impressions",
    labels: Annotated[str, typer.Option(help="prefix of the streams of labels")] = "labels",
    stream: Annotated[str, typer.Option(help="prefix of the streams of events")] = "clicks",
    partitions: Annotated[int, typer.Option(min=1)] = 4,
    id_field: Annotated[str, typer.Option("--id", help="field with the request id, in both")] = "id",
    time_field: Annotated[str, typer.Option("--time", help="field with the time, in both")] = "ts",
    label_field: Annotated[str, typer.Option("--label", help="field with the label, of labels and events")] = "label",
    follow: Annotated[bool, typer.Option("--follow", help="go on for ever")] = False,
) -> None:
    """Make one event of every impression, with its label by request id or 0 when the horizon is over."""
    fields = {"id": id_field, "time": time_field, "label": label_field}
    work = RedisLabelJoin(RedisSource(redis, stream, partitions), impressions, labels, horizon, fields)
    stop = StopRequest()
    stop.install()
    while True:
        counts = [work.round(str(partition)) for partition in range(partitions)]
        if not follow:
            break
        time.sleep(PAUSE_SECONDS)
    names = sorted({name for each in counts for name in each})
    show("Joined so far", {name: sum(each.get(name, 0) for each in counts) for name in names})
