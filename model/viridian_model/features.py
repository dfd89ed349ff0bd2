"""Batches of features, made from rows of events (training) or from Open Inference inputs (serving)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from viridian_model.errors import InputError
from viridian_model.ids import hash_ids
from viridian_model.schema import Schema

_FLOATS = ("FP32", "FP64")
_INTEGERS = ("INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64")


@dataclass(frozen=True)
class FeatureBatch:
    """``n`` examples by field, on the CPU: hashes of categorical values (int64) and numbers (float32)."""

    categorical: Mapping[str, Tensor]
    numeric: Mapping[str, Tensor]
    size: int

    @classmethod
    def from_rows(cls, rows: Sequence[Mapping[str, Any]], schema: Schema) -> FeatureBatch:
        """Make a batch from events.

        Raises:
            InputError: a row that `Schema.problem` objects to, with its position.
        """
        for position, row in enumerate(rows):
            if problem := schema.problem(row):
                raise InputError(f"row {position}: {problem}")
        return cls(
            {name: hash_ids(row[name] for row in rows) for name in schema.categorical},
            {name: torch.tensor([row[name] for row in rows], dtype=torch.float32) for name in schema.numeric},
            len(rows),
        )

    @classmethod
    def from_inputs(cls, inputs: object, schema: Schema) -> FeatureBatch:
        """Make a batch from the ``inputs`` of an Open Inference request.

        Raises:
            InputError: an input is missing, unknown, of another length or datatype; says what to send.
        """
        tensors = _by_name(inputs, schema)
        data = {name: _data_of(tensors[name]) for name in (*schema.categorical, *schema.numeric)}
        lengths = {name: len(values) for name, values in data.items()}
        if len(set(lengths.values())) != 1:
            raise InputError(f"all inputs must have the same length, these have {lengths}")
        categorical = {name: hash_ids(_ids(name, tensors[name], data[name])) for name in schema.categorical}
        numeric = {name: _numbers(name, tensors[name], data[name]) for name in schema.numeric}
        return cls(categorical, numeric, next(iter(lengths.values())))

    def __len__(self) -> int:
        return self.size

    def take(self, index: slice | Tensor) -> FeatureBatch:
        """Return the examples at ``index`` (a slice, or int64 positions ``[m]``) as a batch of their own."""
        categorical = {name: values[index] for name, values in self.categorical.items()}
        numeric = {name: values[index] for name, values in self.numeric.items()}
        return FeatureBatch(categorical, numeric, len(next(iter({**categorical, **numeric}.values()))))


def _by_name(inputs: object, schema: Schema) -> dict[str, Mapping[str, Any]]:
    if not isinstance(inputs, list) or not all(isinstance(entry, dict) for entry in inputs):
        raise InputError(f"send inputs as a list of objects with name, datatype, shape and data for: {_wanted(schema)}")
    names = [entry.get("name") for entry in inputs]
    for name in names:
        if name not in schema.categorical and name not in schema.numeric:
            raise InputError(f"unknown input {name!r}; this model takes {_wanted(schema)}")
        if names.count(name) > 1:
            raise InputError(f"input {name!r} stands twice; send it once")
    for name in (*schema.categorical, *schema.numeric):
        if name not in names:
            raise InputError(f"input {name!r} is missing; this model takes {_wanted(schema)}")
    return {str(entry["name"]): entry for entry in inputs}


def _wanted(schema: Schema) -> str:
    return ", ".join(f"{spec.name} ({spec.datatype})" for spec in schema.signature().inputs)


def _data_of(tensor: Mapping[str, Any]) -> list[Any]:
    name, data, shape = tensor["name"], tensor.get("data"), tensor.get("shape")
    if not isinstance(data, list) or not data:
        raise InputError(f"input {name!r}: send data as a list with one value per example, at least one")
    if shape != [len(data)]:
        raise InputError(
            f"input {name!r}: shape is {shape!r} but data has {len(data)} values; send shape [{len(data)}]"
        )
    return data


def _ids(name: str, tensor: Mapping[str, Any], data: list[Any]) -> list[str | int]:
    datatype = tensor.get("datatype")
    if datatype == "BYTES":
        kind: type = str
    elif datatype in _INTEGERS:
        kind = int
    else:
        raise InputError(f"input {name!r}: datatype is {datatype!r}; send BYTES with strings or INT64 with integers")
    for position, value in enumerate(data):
        if not isinstance(value, kind) or isinstance(value, bool):
            raise InputError(f"input {name!r}: data[{position}] is {value!r}; {datatype} needs a {kind.__name__}")
    return data


def _numbers(name: str, tensor: Mapping[str, Any], data: list[Any]) -> Tensor:
    datatype = tensor.get("datatype")
    if datatype not in _FLOATS and datatype not in _INTEGERS:
        raise InputError(f"input {name!r}: datatype is {datatype!r}; send FP32 with numbers")
    for position, value in enumerate(data):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InputError(f"input {name!r}: data[{position}] is {value!r}; {datatype} needs a number")
        if not (math.isfinite(value) if isinstance(value, float) else abs(value) < 2**63) or abs(value) > 3.4e38:
            raise InputError(f"input {name!r}: data[{position}] is out of range; send a finite FP32 number")
    return torch.tensor(data, dtype=torch.float32)
