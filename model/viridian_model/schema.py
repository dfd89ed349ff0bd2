"""Names of the fields of an event and of the inputs of a model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class TensorSpec(BaseModel):
    """One input or output of a model in the words of the Open Inference Protocol."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    datatype: str
    shape: tuple[int, ...]


class Signature(BaseModel):
    """Inputs and outputs of a model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


class Schema(BaseModel):
    """``data.schema`` of a ModelUpdate: which field of an event is what."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = "id"
    time: str = "ts"
    user: str = "user"
    item: str = "item"
    label: str = "label"
    categorical: tuple[str, ...] = Field(default=("user", "item"))
    numeric: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _fields_are_usable(self) -> Self:
        fields = self.categorical + self.numeric
        if not fields:
            raise ValueError("name at least one categorical or numeric field")
        if len(set(fields)) != len(fields):
            raise ValueError("a field may stand only once in categorical and numeric")
        if self.label in fields:
            raise ValueError(f"the label {self.label!r} cannot be an input of the model")
        return self

    def signature(self) -> Signature:
        """Return the signature of a model that takes these fields and answers with a probability."""
        inputs = [TensorSpec(name=name, datatype="BYTES", shape=(-1,)) for name in self.categorical]
        inputs += [TensorSpec(name=name, datatype="FP32", shape=(-1,)) for name in self.numeric]
        outputs = (TensorSpec(name="probability", datatype="FP32", shape=(-1,)),)
        return Signature(inputs=tuple(inputs), outputs=outputs)

    def problem(self, row: Mapping[str, Any]) -> str | None:
        """Return why the features of ``row`` cannot be used, or None if they can."""
        for name in self.categorical:
            value = row.get(name)
            if isinstance(value, bool) or not isinstance(value, str | int):
                return f"field {name!r} must be a string or an integer, not {value!r}"
        for name in self.numeric:
            value = row.get(name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not _is_finite(value):
                return f"field {name!r} must be a finite number, not {value!r}"
        return None


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value) and abs(value) <= 3.4e38
    except OverflowError:  # an integer beyond the range of float
        return False
