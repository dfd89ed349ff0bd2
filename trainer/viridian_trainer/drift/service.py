"""What serves, asked as every client asks it (Open Inference Protocol v2)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import requests

from viridian_model.requests import inputs_of_rows
from viridian_model.schema import Schema
from viridian_trainer.eventlog import Event

SECONDS = 10.0
OUTPUT = "probability"


class NotTold(Exception):
    """What serves gave no predictions that can be scored; the text says why."""


@dataclass(frozen=True)
class Answers:
    """Predictions of one version, shape ``[n]``, and the time of the newest event that it was trained on."""

    probabilities: list[float]
    version: str
    watermark: float


class ActiveService:
    """The Service that callers use.

    Parameters
    ----------
    address
        ``http://NAME.NAMESPACE:80``.
    """

    def __init__(self, address: str, model: str, schema: Schema) -> None:
        self._url, self._schema = f"{address}/v2/models/{model}/infer", schema
        self._session = requests.Session()

    def ask(self, events: Sequence[Event]) -> Answers:
        """Predictions for ``events``, all by one version.

        Raises
        ------
        NotTold
            If there are none, or they do not say of which version.
        """
        inputs = inputs_of_rows([event.features for event in events], self._schema)
        try:
            response = self._session.post(self._url, json={"inputs": inputs}, timeout=SECONDS)
        except requests.RequestException as error:
            raise NotTold(f"{self._url} cannot be reached: {type(error).__name__}") from error
        if response.status_code != 200:
            raise NotTold(f"{self._url} answers {response.status_code}: {response.text[:200]}")
        return Answers(
            probabilities=_probabilities(response, len(events)),
            version=response.headers.get("x-model-version", "?"),
            watermark=_watermark(response.headers.get("x-model-watermark", "")),
        )


def _probabilities(response: requests.Response, wanted: int) -> list[float]:
    try:
        outputs: list[dict[str, Any]] = response.json()["outputs"]
        (data,) = [output["data"] for output in outputs if output["name"] == OUTPUT]
        found = [float(value) for value in data]
    except (ValueError, KeyError, TypeError) as error:
        raise NotTold(f"an answer has no output {OUTPUT!r} of numbers") from error
    if len(found) != wanted or not all(math.isfinite(each) and 0 <= each <= 1 for each in found):
        raise NotTold(f"an answer has not {wanted} probabilities in its output {OUTPUT!r}")
    return found


def _watermark(text: str) -> float:
    """Without it nobody knows whether an event was trained on before it was predicted."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise NotTold("answers carry no header x-model-watermark, by which trained events are left out") from None
