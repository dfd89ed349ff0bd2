"""Versions of a registered model, as MLflow's REST API shows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ModelVersion:
    """One version; its tags are what the trainer and the operator wrote on it."""

    model: str
    version: str
    source: str = ""
    run_id: str = ""
    #: READY once the registration is complete
    status: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> ModelVersion:
        """Read a ``ModelVersion`` message of the API."""
        return cls(
            model=raw["name"],
            version=str(raw["version"]),
            source=raw.get("source") or "",
            run_id=raw.get("run_id") or "",
            status=raw.get("status") or "",
            tags={tag["key"]: tag.get("value") or "" for tag in raw.get("tags") or []},
        )


def quoted(text: str) -> str:
    """``text`` as a string of MLflow's filter language.

    Raises
    ------
    ValueError
        If it cannot be said in that language, which knows no escapes.
    """
    for mark in ("'", '"'):
        if mark not in text:
            return f"{mark}{text}{mark}"
    raise ValueError(f"{text!r} holds both kinds of quotation marks, which MLflow cannot search for")
