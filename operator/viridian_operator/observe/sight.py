"""What a pass sees: the observation for decisions, and the objects behind it for effects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from viridian_operator.decide.observation import Observation
from viridian_operator.kube.resources import Manifest

#: Objects by kind and name, as the API server gave them.
Raw = dict[tuple[str, str], Manifest]


@dataclass(frozen=True)
class Sight:
    """An observation with its raw objects."""

    observation: Observation
    raw: Mapping[tuple[str, str], Manifest]


def indexed(objects: Iterable[Manifest]) -> Raw:
    """Objects by kind and name."""
    return {(obj["kind"], obj["metadata"]["name"]): obj for obj in objects}


def of_kind(raw: Mapping[tuple[str, str], Manifest], kind: str) -> list[Manifest]:
    """All objects of a kind."""
    return [obj for (found, _), obj in raw.items() if found == kind]
