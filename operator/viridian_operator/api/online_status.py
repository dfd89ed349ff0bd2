"""``status.online``: what the online trainer and the replicas said last."""

from __future__ import annotations

from pydantic import Field

from viridian_operator.api.base import ApiModel, Time
from viridian_operator.api.version import ModelRef, Numbers


class Replica(ApiModel):
    """What a serving pod said that it answers with."""

    pod: str
    version: str = Field(description="the anchor of what it answers with")
    sequence: str
    root: str = Field(default="", description="Merkle root")
    repaired: int = Field(default=0, description="damages of its memory that it found and repaired since it started")
    damage: str = Field(default="", description="what the last of them was: Rows, Tensors, Index or Trees, or several")
    since: Time = Field(description="when it was first seen with this anchor and epoch")


class OwedRevert(ApiModel):
    """Replicas that are beyond the anchor of an epoch go back to it; who has left the epoch has done so."""

    epoch: int
    reason: str
    since: Time


class OnlineStatus(ApiModel):
    """What the online trainer and the replicas said last; ``chain`` and ``parent`` are what the trainer was given."""

    chain: str
    parent: ModelRef = Field(description="the champion that it started from")
    state: str = Field(default="", description="Starting, Publishing, Stopped or Shadow; empty while it says nothing")
    sequence: str = Field(default="", description="of the newest head that it published")
    root: str = Field(default="", description="Merkle root of that head")
    event_time: float | None = Field(default=None, description="of the newest event that it trained on")
    lag_events: int = Field(default=0, description="entries of the log that it has not trained on")
    lag_seconds: float = 0.0
    deltas_per_second: float = 0.0
    reverts: int = Field(default=0, description="how often replicas went back to a champion")
    p_value: float | None = Field(default=None, description="anytime-valid, of being worse than the champion")
    metrics: dict[str, Numbers] = Field(default={}, description="prequential, of the online weights and the champion")
    pending: ModelRef | None = Field(default=None, description="the anchor that waits for its verdict")
    error: str = ""
    replicas: list[Replica] = []
    checked_at: Time | None = Field(default=None, description="when the figures were taken")
    revert: OwedRevert | None = None
