"""Base of the API types: camelCase on the wire, immutable in memory."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer
from pydantic.alias_generators import to_camel

GROUP = "viridian.dev"
VERSION = "v1alpha1"
KIND = "ModelUpdate"
PLURAL = "modelupdates"
API_VERSION = f"{GROUP}/{VERSION}"


def rfc3339(moment: datetime) -> str:
    """``moment`` as Kubernetes writes it, in microseconds."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


Time = Annotated[datetime, PlainSerializer(rfc3339, when_used="json")]

#: Opaque JSON object, e.g. a pod template that Viridian passes on without interpreting it.
Opaque = dict[str, Any]


class ApiModel(BaseModel):
    """Immutable API object; unknown fields are ignored, as the API server prunes them anyway."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        frozen=True,
        extra="ignore",
    )

    def but(self, **changes: Any) -> Self:
        """A copy with ``changes``."""
        return self.model_copy(update=changes)

    def wire(self) -> dict[str, Any]:
        """JSON form without absent values."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class SecretRef(ApiModel):
    """A Secret of the same namespace."""

    name: str = Field(min_length=1, max_length=253, description="name of the Secret")


class VolumeClaim(ApiModel):
    """A PersistentVolumeClaim of the same namespace."""

    claim_name: str = Field(min_length=1, max_length=253, description="name of the claim")


class Volume(ApiModel):
    """Where files that must outlive a pod are kept."""

    persistent_volume_claim: VolumeClaim
