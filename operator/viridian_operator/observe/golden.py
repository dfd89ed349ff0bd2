"""Golden requests: answers of a pod against those that the trainer computed from the finished weights."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from viridian_operator.observe.prober import Answer, Prober

#: the pod is there but does not judge: busy, or not ready any more
_TEMPORARY = frozenset({408, 429, 502, 503, 504})


@dataclass(frozen=True)
class Golden:
    """Requests with the wanted outputs, both in Open Inference form."""

    tolerance: float
    requests: tuple[Mapping[str, Any], ...]


def golden_of(text: str | None) -> Golden | None:
    """Golden requests out of their JSON; None if they cannot be read.

    A version without golden requests has an empty list, which every pod answers.
    """
    try:
        parsed = json.loads(text or "")
        requests = tuple(parsed["requests"])
        tolerance = float(parsed.get("tolerance", 1e-4))
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    return Golden(tolerance, requests) if all(isinstance(each, Mapping) for each in requests) else None


def infer_url(address: str, model: str) -> str:
    """Where a pod answers requests for predictions."""
    return f"{address}/v2/models/{quote(model, safe='')}/infer"


async def ask_golden(prober: Prober, address: str, model: str, golden: Golden) -> str | None:
    """What is wrong with the answers of a pod: "" if nothing is, None if it did not answer."""
    url = infer_url(address, model)
    asked = (prober.ask(url, body={"inputs": request.get("inputs", [])}) for request in golden.requests)
    for request, answer in zip(golden.requests, await asyncio.gather(*asked), strict=True):
        verdict = _judge(answer, request.get("outputs") or [], golden.tolerance)
        if verdict != "":
            return verdict
    return ""


def _judge(answer: Answer, wanted: list[Any], tolerance: float) -> str | None:
    if answer.problem or answer.status in _TEMPORARY:
        return None
    if answer.status != 200:
        return f"a golden request was answered with {answer.status}: {answer.text[:120]}"
    body = answer.json()
    outputs = body.get("outputs") if isinstance(body, Mapping) else None
    if not isinstance(outputs, list):
        return "a golden request was answered without outputs"
    return differing(wanted, outputs, tolerance)


def differing(wanted: list[Any], outputs: list[Any], tolerance: float) -> str:
    """The first difference between wanted and given outputs beyond the tolerance, as text; "" if there is none."""
    given = {each.get("name"): each for each in outputs if isinstance(each, Mapping)}
    for output in wanted:
        name = output.get("name")
        if name not in given:
            return f"output {name} is missing"
        expected, found = list(_flat(output.get("data"))), list(_flat(given[name].get("data")))
        if len(expected) != len(found):
            return f"output {name} has {len(found)} values instead of {len(expected)}"
        for index, (one, other) in enumerate(zip(expected, found, strict=True)):
            if not _close(one, other, tolerance):
                return f"output {name}[{index}] is {other!r} instead of {one!r} (tolerance {tolerance:g})"
    return ""


def _flat(data: Any) -> Iterator[Any]:
    if isinstance(data, list):
        for item in data:
            yield from _flat(item)
    elif data is not None:
        yield data


def _close(one: Any, other: Any, tolerance: float) -> bool:
    if isinstance(one, bool) or isinstance(other, bool) or isinstance(one, str) or isinstance(other, str):
        return bool(one == other)
    try:
        return math.isclose(float(one), float(other), rel_tol=tolerance, abs_tol=tolerance)
    except (TypeError, ValueError):
        return False
