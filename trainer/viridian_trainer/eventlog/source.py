"""The event log that ``spec.data.source`` names."""

from __future__ import annotations

from collections.abc import Mapping

from viridian_trainer.data import Source
from viridian_trainer.errors import BadConfig
from viridian_trainer.eventlog.log import EventLog
from viridian_trainer.eventlog.redis_stream import RedisEventLog, RedisSource

USERNAME, PASSWORD = "VIRIDIAN_REDIS_USERNAME", "VIRIDIAN_REDIS_PASSWORD"


def open_log(source: Source, env: Mapping[str, str]) -> EventLog:
    """The log of ``source``; credentials of Redis come from the environment, never from the resource."""
    if source.parquet is not None:
        from viridian_trainer.eventlog.parquet import ParquetEventLog  # with pyarrow, which followers of Redis need not

        return ParquetEventLog(source.parquet.path)
    if source.redis_stream is None:
        raise BadConfig("spec.data.source names no event log")
    stream = source.redis_stream
    return RedisEventLog(
        RedisSource(stream.url, stream.stream, stream.partitions, env.get(USERNAME) or None, env.get(PASSWORD) or None)
    )
