"""``spec.online``: training that follows the log, and publishes to all replicas within a second."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field, WithJsonSchema

from viridian_operator.api.base import ApiModel, Opaque, SecretRef, VolumeClaim
from viridian_operator.api.durations import Duration
from viridian_operator.api.templates import pod_template
from viridian_operator.api.validation import NO_CREDENTIALS, POSITIVE, checked, rule

_STORE_URL = rule(
    "self.matches('^(rediss?|s3)://[^/]')",
    "not the address of a store: write redis://HOST:PORT/DB, rediss://… or s3://BUCKET/PREFIX?endpoint=URL, "
    "or give persistentVolumeClaim for a shared volume",
)
_ONE_STORE = rule(
    "has(self.url) != has(self.persistentVolumeClaim)",
    "name exactly one store: url (redis, rediss or s3) or persistentVolumeClaim",
)
_NO_SECRET = rule(
    "!has(self.credentialsSecretRef) || has(self.url)",
    "a volume needs no credentials: leave credentialsSecretRef out",
)

_Template = Annotated[Opaque, WithJsonSchema(pod_template(containers=4, variables=64, volumes=16))]


class ChainStore(ApiModel):
    """Where anchors and deltas are published, and replicas read them."""

    model_config = ConfigDict(json_schema_extra=checked(_ONE_STORE, _NO_SECRET))

    url: Annotated[str, Field(min_length=1, max_length=512)] | None = Field(
        default=None,
        description="redis://HOST:PORT/DB, rediss://… or s3://BUCKET/PREFIX?endpoint=URL, without credentials",
        json_schema_extra=checked(_STORE_URL, NO_CREDENTIALS),
    )
    persistent_volume_claim: VolumeClaim | None = Field(
        default=None, description="a volume that all pods may mount at once, and that has hard links"
    )
    credentials_secret_ref: SecretRef | None = Field(
        default=None, description="Secret with the keys username and password, of Redis or of S3"
    )


class Anchors(ApiModel):
    """When the online weights become a version of the registry that the gate judges; whichever comes first."""

    every: Duration = Field(
        default=timedelta(minutes=10), description="time between two", json_schema_extra=checked(POSITIVE)
    )
    events: int = Field(default=100_000, ge=1, description="events between two")


class DeltaEncoding(StrEnum):
    """How the values in a delta are written."""

    FLOAT32 = "Float32"
    INT8 = "Int8"


class Deltas(ApiModel):
    """What goes into a delta; what is left out follows at the latest with the next checkpoint, every 30 seconds.

    Less than everything costs fewer bytes, and readers lag behind the weights that the sequential test judges.
    """

    rows: float = Field(
        default=1.0, ge=0.001, le=1, description="share of the changed rows that is sent, largest changes first"
    )
    dense_every: int = Field(
        default=1, ge=1, le=1000, description="tensors that are no tables are sent with every n-th delta"
    )
    encoding: DeltaEncoding = Field(
        default=DeltaEncoding.FLOAT32, description="Int8 rounds rows and matrices, with a scale per row"
    )


class SequentialTest(ApiModel):
    """Of the online weights against the champion, on every event before it is trained on."""

    alpha: float = Field(default=0.01, ge=1e-9, le=0.5, description="probability of ever stopping without a reason")
    margin: float = Field(default=0.002, ge=0, lt=0.2, description="log loss by which they may be worse, in nats")


class Online(ApiModel):
    """How the online trainer publishes, and when it has to stop."""

    store: ChainStore
    publish_interval_milliseconds: int = Field(
        default=250, ge=20, le=3_600_000, description="shortest time between two deltas"
    )
    deltas: Deltas = Deltas()
    anchors: Anchors = Anchors()
    window: int = Field(default=5000, ge=1, le=1_000_000, description="events that the shown metrics cover")
    test: SequentialTest = SequentialTest()
    template: _Template | None = Field(
        default=None, description="pod template of the online trainer; default: that of training"
    )
