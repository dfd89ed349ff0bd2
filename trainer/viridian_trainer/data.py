"""``spec.data`` of the ModelUpdate, and how parts of it are read; without anything that models need."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from viridian_model.schema import Schema
from viridian_trainer.errors import BadConfig


def _seconds(value: Any) -> Any:
    """Seconds of a duration as manifests have it; anything else as it is."""
    if not isinstance(value, str):
        return value
    if not value or not re.fullmatch(r"([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?", value):
        raise ValueError(f"{value!r} is not a duration; write for example 90d, 12h or 1h30m")
    units = {"d": 86400, "h": 3600, "m": 60, "s": 1}
    return sum(int(n) * units[unit] for n, unit in re.findall(r"([0-9]+)([dhms])", value))


Fraction = Annotated[float, Field(gt=0, lt=1)]
#: a number of seconds, or a duration as manifests have it
Seconds = Annotated[float, BeforeValidator(_seconds)]


class Part(BaseModel):
    """Immutable object of the API, camelCase in JSON; fields for other readers are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True)


class RedisStream(Part):
    """Streams ``<stream>:0`` … ``<stream>:<partitions-1>``."""

    url: str
    stream: str
    partitions: int = Field(default=1, ge=1)


class ParquetFiles(Part):
    """Directory of segments."""

    path: Path


class Source(Part):
    """Exactly one kind of event log."""

    redis_stream: RedisStream | None = None
    parquet: ParquetFiles | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.redis_stream is None) == (self.parquet is None):
            raise ValueError("name exactly one of redisStream and parquet")
        return self


class Holdout(Part):
    """The newest part of a window."""

    fraction: Fraction = 0.1


class Replay(Part):
    """Events of the past per new event."""

    ratio: float = Field(default=0.0, ge=0, le=10)


class Data(Part):
    """``spec.data``; an event is late if its time is more than ``allowed_lateness`` before the newest one."""

    source: Source
    event_schema: Schema = Field(default_factory=Schema, alias="schema")
    holdout: Holdout = Holdout()
    replay: Replay = Replay()
    max_rejected: float = Field(default=0.01, ge=0, le=1)
    allowed_lateness: Annotated[Seconds, Field(ge=0)] = 60.0


def parse_part[T: Part](kind: type[T], value: Any, where: str) -> T:
    """``value`` as ``kind``.

    Raises
    ------
    BadConfig
        With the first field that does not fit, as people write it.
    """
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join([where, *(to_camel(str(part)) for part in first["loc"])])
        raise BadConfig(f"{path}: {first['msg'].removeprefix('Value error, ')}") from None
