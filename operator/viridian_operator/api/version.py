"""One version of the registered model, and numbers about it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator

from viridian_operator.api.base import ApiModel


def _known(numbers: Any) -> Any:
    """Without those that an evaluation could not tell, which it writes as null."""
    return {k: v for k, v in numbers.items() if v is not None} if isinstance(numbers, dict) else numbers


Numbers = Annotated[dict[str, float], BeforeValidator(_known)]


class ModelRef(ApiModel):
    """One version of the registered model, pinned by the digest of its bundle."""

    version: str
    digest: str
