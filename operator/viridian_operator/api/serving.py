"""``spec.serving``: the Deployments and Services that answer requests."""

from __future__ import annotations

from enum import StrEnum

from pydantic import ConfigDict, Field

from viridian_operator.api.base import ApiModel, Volume
from viridian_operator.api.templates import PodTemplate
from viridian_operator.api.validation import SERVICE_NAME, checked, rule

_SAME_SERVICES = rule(
    "has(self.active) == has(oldSelf.active) && (!has(self.active) || self.active == oldSelf.active)"
    " && has(self.preview) == has(oldSelf.preview)"
    " && (!has(self.preview) || self.preview == oldSelf.preview)",
    "names of the Services never change, since callers use them: create another ModelUpdate for other names",
)


class IdentityPolicy(StrEnum):
    """How much a serving pod proves about what it serves."""

    DIGEST = "Digest"
    READINESS_ONLY = "ReadinessOnly"


class Services(ApiModel):
    """Names of the two Services that Viridian owns; default ``<name>`` and ``<name>-preview``."""

    model_config = ConfigDict(json_schema_extra=checked(_SAME_SERVICES))

    active: str | None = Field(
        default=None, max_length=63, description="what callers use", json_schema_extra=checked(SERVICE_NAME)
    )
    preview: str | None = Field(
        default=None,
        max_length=63,
        description="reaches the candidate",
        json_schema_extra=checked(SERVICE_NAME),
    )


class Serving(ApiModel):
    """What serves."""

    replicas: int = Field(default=1, ge=0, le=1000, description="also set through /scale, e.g. by an autoscaler")
    port: int = Field(default=8080, ge=1024, le=65535, description="that the server listens on and the Services offer")
    identity: IdentityPolicy = Field(
        default=IdentityPolicy.DIGEST,
        description="Digest: every pod tells which bundle it serves; ReadinessOnly: readiness is believed",
    )
    services: Services = Services()
    store: Volume | None = Field(default=None, description="volume with verified bundles, read before MLflow")
    template: PodTemplate = Field(description="pod template; the first container is the server")
