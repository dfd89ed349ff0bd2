"""The parts of the ModelUpdate that reach a task: ``spec.data``, ``spec.gate`` and
``spec.training.config``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from viridian_model.contract import DEFAULT_ARCHITECTURE, ModelSpec
from viridian_model.errors import BadBundle
from viridian_model.schema import Schema
from viridian_trainer.errors import BadConfig

Fraction = Annotated[float, Field(gt=0, lt=1)]
#: Which events judge a candidate: ones that it never trained on, or ones that it predicted before.
SplitKind = Literal["Holdout", "Prequential"]


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
    """``spec.data``; ``allowed_lateness`` in seconds of event time."""

    source: Source
    event_schema: Schema = Field(default_factory=Schema, alias="schema")
    holdout: Holdout = Holdout()
    replay: Replay = Replay()
    max_rejected: float = Field(default=0.01, ge=0, le=1)
    allowed_lateness: float = Field(default=60.0, ge=0)


class Slice(Part):
    """A part of the events that must not get worse: by a field's values, or by what is known of the users."""

    name: str
    kind: Literal["Field", "NewUsers", "KnownUsers", "HeavyUsers"] = "Field"
    field: str | None = None
    values: list[str] = []
    margin: float | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _field_is_complete(self) -> Self:
        if self.kind == "Field" and (self.field is None or not self.values):
            raise ValueError(f"slice {self.name} needs field and values, or another kind")
        return self


class Gate(Part):
    """``spec.gate``; ``looks`` is the number of looks that the error probability is split over."""

    split: SplitKind = "Holdout"
    metric: Literal["logloss", "auroc"] = "logloss"
    margin: float = Field(default=0.002, ge=0)
    confidence: Fraction = 0.95
    min_events: int = Field(default=2000, ge=1)
    floors: dict[str, float] = {}
    slices: list[Slice] = []
    looks: int = Field(default=1, ge=1)


class Online(Part):
    """``VIRIDIAN_ONLINE``.

    ``publish_interval`` in seconds between two deltas, ``anchor_every`` in seconds and ``anchor_events`` in events
    between two anchors (whichever comes first), ``window`` in events of the prequential metrics, ``alpha`` and
    ``margin`` (nats) of the sequential test.
    """

    publish_interval: float = Field(default=0.25, gt=0, le=3600)
    anchor_every: float = Field(default=600.0, gt=0)
    anchor_events: int = Field(default=100_000, ge=1)
    window: int = Field(default=5000, ge=1, le=1_000_000)
    alpha: Fraction = 0.01
    margin: float = Field(default=0.002, ge=0, lt=0.2)


class TrainerConfig(Part):
    """The keys of ``spec.training.config`` that the trainer reads; all others go to the architecture.

    ``batch_size`` in events, ``learning_rate`` and ``initial_accumulator`` of Adagrad (Duchi et al. 2011),
    ``checkpoint_events`` in events between two checkpoints, ``threads`` of the CPU.
    """

    architecture: str = DEFAULT_ARCHITECTURE
    batch_size: int = Field(default=128, ge=1, le=65536)
    learning_rate: float = Field(default=0.05, gt=0)
    initial_accumulator: float = Field(default=0.0, ge=0)
    checkpoint_events: int = Field(default=50_000, ge=1)
    threads: int = Field(default=1, ge=1)
    device: str = "cpu"


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


def split_config(config: dict[str, Any]) -> tuple[TrainerConfig, dict[str, Any]]:
    """The trainer's own keys of ``spec.training.config``, and the rest for the architecture.

    Raises
    ------
    BadConfig
        If a key of the trainer does not fit.
    """
    own = {to_camel(name) for name in TrainerConfig.model_fields}
    trainer = parse_part(TrainerConfig, {k: v for k, v in config.items() if k in own}, "spec.training.config")
    return trainer, {key: value for key, value in config.items() if key not in own}


def model_spec(trainer: TrainerConfig, config: dict[str, Any], schema: Schema) -> ModelSpec:
    """``model.json`` of a new model, tried out by building it.

    Raises
    ------
    BadConfig
        If the architecture is not in this image or refuses the config.
    """
    spec = ModelSpec.of(schema, architecture=trainer.architecture, config=config)
    try:
        spec.build()
    except BadBundle as error:
        raise BadConfig(f"spec.training.config: {error.message}") from None
    return spec
