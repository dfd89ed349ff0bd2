"""``spec.data``: where training events come from and how they are read."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field

from viridian_operator.api.base import ApiModel, SecretRef
from viridian_operator.api.durations import Duration
from viridian_operator.api.validation import NO_CREDENTIALS, checked, rule

FieldName = Annotated[str, Field(min_length=1, max_length=63)]

_SAME_STREAM = rule(
    "self.stream == oldSelf.stream && self.partitions == oldSelf.partitions",
    "stream and partitions never change, since recorded windows refer to them: "
    "create another ModelUpdate for another stream",
)
_REDIS = rule("self.matches('^rediss?://[^/]')", "not a Redis address: write redis://HOST:PORT/DB or rediss://…")
_ONE_SOURCE = rule(
    "has(self.redisStream)",
    "name exactly one event log under source, e.g. redisStream: {url: redis://HOST:6379/0, stream: clicks}",
)
_NEWEST = rule(
    "!has(self.maxEvents) || !has(self.start) || self.start != 'Latest'",
    "start: Latest leaves nothing that maxEvents could bound: leave out one of them",
)
_BOUNDED = rule(
    "!has(self.maxEvents) || !has(self.startOffsets)",
    "startOffsets already say where the first window begins: leave maxEvents out",
)
_OFFSETS = rule(
    "(has(self.start) && self.start == 'Offsets') == has(self.startOffsets)",
    "start: Offsets and startOffsets belong together, e.g. start: Offsets, startOffsets: {'0': 1200@1700000000000-0}",
)
_EVERY_PARTITION = rule(
    "!has(self.startOffsets) || !has(self.source.redisStream) || !has(self.source.redisStream.partitions)"
    " || self.startOffsets.size() == self.source.redisStream.partitions",
    "startOffsets name a position for every partition of the stream: '0', '1', … up to partitions - 1",
)
_POSITION = rule(
    "self.matches('^[0-9]+@[0-9]+-[0-9]+$')",
    "not a position in a Redis stream: write ENTRIES@ID, e.g. 1200@1700000000000-0 (0@0-0 is the beginning), "
    "as in status.champion.watermark of a ModelUpdate of the same stream",
)
_DISTINCT = rule(
    "!has(self.categorical) || (self.categorical.all(x, self.categorical.exists_one(y, x == y))"
    " && (!has(self.numeric) || self.numeric.all(x, self.numeric.exists_one(y, x == y)"
    " && !self.categorical.exists(y, x == y))))",
    "name every feature once, either under categorical or under numeric",
)


class Start(StrEnum):
    """Where the first window begins."""

    EARLIEST = "Earliest"
    LATEST = "Latest"
    OFFSETS = "Offsets"


class RedisStream(ApiModel):
    """One Redis stream per partition, under the keys ``<stream>:0`` … ``<stream>:<partitions-1>``."""

    model_config = ConfigDict(json_schema_extra=checked(_SAME_STREAM))

    url: str = Field(
        min_length=1,
        max_length=512,
        description="redis:// or rediss:// address without credentials",
        json_schema_extra=checked(_REDIS, NO_CREDENTIALS),
    )
    stream: str = Field(min_length=1, max_length=200, description="prefix of the keys; never changes")
    partitions: int = Field(default=1, ge=1, le=256, description="number of streams; never changes")
    credentials_secret_ref: SecretRef | None = Field(
        default=None, description="Secret with the keys username (optional) and password"
    )


class Source(ApiModel):
    """Exactly one kind of event log."""

    model_config = ConfigDict(json_schema_extra=checked(_ONE_SOURCE))

    redis_stream: RedisStream | None = None


class EventSchema(ApiModel):
    """Names of the fields of an event."""

    model_config = ConfigDict(json_schema_extra=checked(_DISTINCT))

    id: FieldName = Field(default="id", description="identifies the event; repeated ones are dropped")
    time: FieldName = Field(default="ts", description="seconds since the epoch")
    user: FieldName = Field(default="user", description="whom the gate counts as one sample")
    item: FieldName = Field(default="item", description="what was shown")
    label: FieldName = Field(default="label", description="0 or 1")
    categorical: list[FieldName] = Field(
        default=["user", "item"], min_length=1, max_length=64, description="features that are embedded"
    )
    numeric: list[FieldName] = Field(default=[], max_length=64, description="features used as numbers")


class Holdout(ApiModel):
    """The newest slice of a window, which judges the candidate."""

    fraction: float = Field(
        default=0.1, ge=0.01, le=0.5, description="of the window's events that the champion has not trained on"
    )


class Replay(ApiModel):
    """How many events of the past are mixed into the new ones."""

    ratio: float = Field(default=0.0, ge=0, le=10, description="replayed events per new event")


Position = Annotated[str, Field(max_length=64, json_schema_extra=checked(_POSITION))]


class Data(ApiModel):
    """Where training events come from."""

    model_config = ConfigDict(json_schema_extra=checked(_NEWEST, _BOUNDED, _OFFSETS, _EVERY_PARTITION))

    source: Source
    event_schema: EventSchema = Field(default=EventSchema(), alias="schema")
    holdout: Holdout = Holdout()
    replay: Replay = Replay()
    start: Start = Field(default=Start.EARLIEST, description="where the first window begins")
    start_offsets: dict[str, Position] | None = Field(
        default=None,
        max_length=256,
        description="position per partition where the first window begins, for start: Offsets",
    )
    max_events: int | None = Field(
        default=None,
        ge=1,
        le=10_000_000,
        description="the first window begins so many events before the end of the log, spread over the partitions; "
        "older ones are never trained",
    )
    max_rejected: float = Field(
        default=0.01, ge=0, le=1, description="fraction of unreadable events that fails a training"
    )
    # without a default: one that a later release adds would count as a change of the spec
    allowed_lateness: Duration | None = Field(
        default=None,
        description="an event whose time is further than this behind the newest one is counted as late, and trained on "
        "all the same; 1m if absent",
    )
