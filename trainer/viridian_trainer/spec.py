"""The parts of the ModelUpdate that reach a task: ``spec.data`` (in ``data``), ``spec.gate`` and
``spec.training.config``.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, field_validator, model_validator
from pydantic.alias_generators import to_camel

from viridian_model.chain.builder import Selection
from viridian_model.chain.change import Encoding
from viridian_model.contract import DEFAULT_ARCHITECTURE, ModelSpec
from viridian_model.errors import BadBundle
from viridian_model.schema import Schema
from viridian_trainer.data import Data, Fraction, Part, Seconds, Source, parse_part
from viridian_trainer.errors import BadConfig

__all__ = [
    "METRICS",
    "Data",
    "Gate",
    "Slice",
    "Source",
    "SplitKind",
    "TrainerConfig",
    "model_spec",
    "parse_part",
    "split_config",
]

#: Which events judge a candidate: ones that it never trained on, or ones that it predicted before.
SplitKind = Literal["Holdout", "Prequential"]


#: Metrics of every model; a floor may name any of these. The operator refuses others in the same words.
METRICS = (
    "logloss",
    "auroc",
    "auprc",
    "brier",
    "ece",
    "accuracy",
    "recall",
    "precision",
    "calibration",
    "entropy",
)


class Slice(Part):
    """A part of the events that must not get worse: by a field's values, or by what is known of users or items."""

    name: str
    kind: Literal["Field", "NewUsers", "KnownUsers", "HeavyUsers", "NewItems", "KnownItems"] = "Field"
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

    @field_validator("floors")
    @classmethod
    def _floors_name_metrics(cls, floors: dict[str, float]) -> dict[str, float]:
        if unknown := sorted(set(floors) - set(METRICS)):
            raise ValueError(f"unknown metric {unknown[0]}: write any of {', '.join(METRICS)}")
        return floors


class Admission(Part):
    """When an id gets a row of its own: after ``count`` events. Of at most ``waiting`` ids a table the events are
    counted, those seen longest ago are forgotten first.
    """

    model_config = ConfigDict(extra="forbid")

    count: int = Field(default=1, ge=1, le=1000)
    waiting: int = Field(default=100_000, ge=1, le=10_000_000)


class Eviction(Part):
    """When an id loses its row, at the end of a training: ``unused_for`` so many seconds of event time, or when more
    than ``max_rows`` ids of a table have one (least recently used first).
    """

    model_config = ConfigDict(extra="forbid")

    unused_for: Annotated[Seconds, Field(gt=0)] | None = None
    max_rows: int | None = Field(default=None, ge=1)

    @property
    def is_wanted(self) -> bool:
        """Whether ids may lose their rows at all."""
        return self.unused_for is not None or self.max_rows is not None


class Online(Part):
    """``VIRIDIAN_ONLINE``.

    ``publish_interval`` in seconds between two deltas, ``anchor_every`` in seconds and ``anchor_events`` in events
    between two anchors (whichever comes first), ``window`` in events of the prequential metrics, ``alpha`` and
    ``margin`` (nats) of the sequential test. ``rows``, ``dense_every`` and ``encoding`` say what goes into a delta, see
    `viridian_model.chain.builder.Selection`.
    """

    publish_interval: float = Field(default=0.25, gt=0, le=3600)
    anchor_every: float = Field(default=600.0, gt=0)
    anchor_events: int = Field(default=100_000, ge=1)
    window: int = Field(default=5000, ge=1, le=1_000_000)
    alpha: Fraction = 0.01
    margin: float = Field(default=0.002, ge=0, lt=0.2)
    rows: float = Field(default=1.0, gt=0, le=1)
    dense_every: int = Field(default=1, ge=1, le=1000)
    encoding: Encoding = "fp32"

    @property
    def selection(self) -> Selection:
        """What goes into a delta."""
        return Selection(self.rows, self.dense_every, self.encoding)


class TrainerConfig(Part):
    """The keys of ``spec.training.config`` that the trainer reads; all others go to the architecture.

    ``batch_size`` in events, ``learning_rate`` and ``initial_accumulator`` of Adagrad (Duchi et al. 2011),
    ``checkpoint_events`` in events between two checkpoints, ``threads`` of the CPU; ``admission`` and ``eviction``
    of ids.
    """

    architecture: str = DEFAULT_ARCHITECTURE
    batch_size: int = Field(default=128, ge=1, le=65536)
    learning_rate: float = Field(default=0.05, gt=0)
    initial_accumulator: float = Field(default=0.0, ge=0)
    checkpoint_events: int = Field(default=50_000, ge=1)
    threads: int = Field(default=1, ge=1)
    device: str = "cpu"
    admission: Admission = Admission()
    eviction: Eviction = Eviction()


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
