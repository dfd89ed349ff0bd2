"""One way from Open Inference inputs to outputs, for the trainer's golden answers and for the server."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from viridian_model.contract import RankingModel, first_problem
from viridian_model.errors import BadBundle, InputError, WarmupFailed
from viridian_model.features import FeatureBatch

TOLERANCE = 1e-4
"""Greatest difference of a probability that counts as the same answer; other kernels stay well below."""


class GoldenRequest(BaseModel):
    """One request and the outputs that the trainer computed for it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]]


class Golden(BaseModel):
    """``golden.json``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tolerance: float = Field(default=TOLERANCE, gt=0, le=0.1)
    requests: tuple[GoldenRequest, ...] = Field(min_length=1)

    @classmethod
    def from_json(cls, obj: object) -> Golden:
        """Parse ``golden.json``.

        Raises:
            BadBundle: it does not fit.
        """
        try:
            return cls.model_validate(obj)
        except ValidationError as error:
            raise BadBundle(f"golden.json does not fit: {first_problem(error)}") from None

    def to_json(self) -> dict[str, Any]:
        """Return the object that goes into ``golden.json``."""
        return self.model_dump(mode="json")


def infer(model: RankingModel, inputs: object) -> list[dict[str, Any]]:
    """Return the Open Inference outputs of ``model`` (in evaluation mode) for Open Inference ``inputs``.

    Raises:
        InputError: the inputs do not fit the schema of the model.
    """
    batch = FeatureBatch.from_inputs(inputs, model.schema)
    with torch.inference_mode():
        probabilities = torch.sigmoid(model(batch).double()).float().cpu()
    return [{"name": "probability", "datatype": "FP32", "shape": [len(batch)], "data": probabilities.tolist()}]


def golden_answers(
    model: RankingModel, requests: Sequence[list[dict[str, Any]]], tolerance: float = TOLERANCE
) -> Golden:
    """Answer ``requests`` (a list of inputs each) offline, from finished weights (see `bundle.finish`)."""
    answered = tuple(GoldenRequest(inputs=inputs, outputs=infer(model, inputs)) for inputs in requests)
    return Golden(tolerance=tolerance, requests=answered)


def check_golden(model: RankingModel, golden: Golden) -> None:
    """Answer the golden requests again.

    Raises:
        WarmupFailed: an answer differs by more than the tolerance, is not finite, or cannot be given.
    """
    for number, request in enumerate(golden.requests):
        try:
            outputs = infer(model, request.inputs)
        except (InputError, RuntimeError) as error:
            raise WarmupFailed(f"golden request {number} cannot be answered: {error}") from error
        if problem := difference(outputs, request.outputs, golden.tolerance):
            raise WarmupFailed(f"golden request {number}: {problem}")


def difference(outputs: Sequence[dict[str, Any]], wanted: Sequence[dict[str, Any]], tolerance: float) -> str | None:
    """Say how ``outputs`` differ from ``wanted`` by more than ``tolerance``, or return None."""
    got_by_name = {output["name"]: output["data"] for output in outputs}
    for output in wanted:
        name, data = output.get("name"), output.get("data")
        got = got_by_name.get(name)
        if got is None or not isinstance(data, list) or len(got) != len(data):
            return f"output {name!r} does not have the expected length"
        for position, (a, b) in enumerate(zip(got, data, strict=True)):
            # not (x <= t) is also true for NaN
            if not math.fabs(a - b) <= tolerance:
                return f"{name}[{position}] is {a:.6g}, the trainer had {b:.6g} (tolerance {tolerance:g})"
    return None
