"""``spec.gate``: when a candidate is good enough to serve."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final

from pydantic import ConfigDict, Field

from viridian_operator.api.base import ApiModel
from viridian_operator.api.validation import checked, keyed, rule

#: Metrics of the trainer's evaluation, which floors may name.
METRICS: Final = (
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
_FLOORS = rule(
    f"self.all(name, name in {list(METRICS)})",
    f"gate.floors names an unknown metric: write any of {', '.join(METRICS)}",
)
_FIELD_SLICE = rule(
    "self.kind != 'Field' || (has(self.field) && has(self.values) && self.values.size() > 0)",
    "a slice of kind Field names field and values, e.g. {name: german, field: language, values: [de]}",
)
_USER_SLICE = rule(
    "self.kind == 'Field' || (!has(self.field) && !has(self.values))",
    "field and values belong to slices of kind Field: leave them out or write kind: Field",
)


class Split(StrEnum):
    """Which events judge the candidate."""

    HOLDOUT = "Holdout"
    PREQUENTIAL = "Prequential"


class OnInconclusive(StrEnum):
    """What an inconclusive verdict leads to."""

    HOLD = "Hold"
    REJECT = "Reject"
    EXTEND_WINDOW = "ExtendWindow"


class SliceKind(StrEnum):
    """How the events of a slice are chosen."""

    FIELD = "Field"
    NEW_USERS = "NewUsers"
    KNOWN_USERS = "KnownUsers"
    HEAVY_USERS = "HeavyUsers"
    NEW_ITEMS = "NewItems"
    KNOWN_ITEMS = "KnownItems"


class Slice(ApiModel):
    """A part of the events that must not get worse either."""

    model_config = ConfigDict(json_schema_extra=checked(_FIELD_SLICE, _USER_SLICE))

    name: str = Field(min_length=1, max_length=63, description="shown in verdicts")
    kind: SliceKind = Field(
        default=SliceKind.FIELD,
        description="how the events of the slice are chosen: Field, by values of a field; NewUsers, KnownUsers, "
        "NewItems, KnownItems, by whether the champion has a row for the id; HeavyUsers, those of the tenth of users "
        "with the most events",
    )
    field: str | None = Field(default=None, max_length=63, description="of the event, for kind Field")
    values: list[Annotated[str, Field(max_length=128)]] = Field(
        default=[], max_length=64, description="of the field, for kind Field"
    )
    margin: float | None = Field(default=None, ge=0, description="default: three times the margin of the gate")


class Gate(ApiModel):
    """Paired, user-level comparison of candidate and champion on the newest events."""

    split: Split = Field(
        default=Split.HOLDOUT,
        description="which events judge: Holdout, the newest slice, which is not trained on; Prequential, the same "
        "slice, each event predicted before it is trained on, and a short untrained tail for the final weights",
    )
    metric: Annotated[str, Field(max_length=16, pattern="^(logloss|auroc)$")] = Field(
        default="logloss",
        description="logloss or auroc",
        json_schema_extra=checked(rule("self in ['logloss', 'auroc']", "unknown metric: write logloss or auroc")),
    )
    margin: float = Field(default=0.002, ge=0, description="how much worse is still as good")
    confidence: float = Field(default=0.95, ge=0.5, lt=1, description="of the interval for the difference")
    min_events: int = Field(default=2000, ge=1, description="with fewer the verdict is Inconclusive")
    floors: dict[str, float] = Field(
        default={},
        description="least acceptable value per metric, e.g. auroc: 0.6; greatest for logloss, brier and ece",
        json_schema_extra=checked(_FLOORS),
    )
    slices: list[Slice] = Field(
        default=[],
        max_length=16,
        description="parts that must not get worse either",
        json_schema_extra=keyed("name"),
    )
    on_inconclusive: OnInconclusive = Field(
        default=OnInconclusive.EXTEND_WINDOW, description="what an inconclusive verdict leads to"
    )
    max_looks: int = Field(
        default=3,
        ge=1,
        le=10,
        description="ExtendWindow: windows tried, each longer than the one before; the error probability is split "
        "over them",
    )

    @property
    def looks(self) -> int:
        """Verdicts that the error probability of one decision is split over."""
        return self.max_looks if self.on_inconclusive is OnInconclusive.EXTEND_WINDOW else 1
