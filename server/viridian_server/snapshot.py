"""The model that answers, as one immutable object."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from viridian_model.contract import ModelSpec, RankingModel
    from viridian_model.manifest import Manifest
    from viridian_model.publication.head import Sequence


@dataclass(frozen=True, eq=False)
class Snapshot:
    """A loaded, verified and warmed-up version. A request takes one reference and uses nothing else.

    ``sequence`` is None for what is no state of a chain.
    """

    name: str
    version: str
    digest: str
    event_time: float | None
    manifest: Manifest
    spec: ModelSpec
    model: RankingModel
    sequence: Sequence | None = None
    token: int | None = None

    @property
    def root(self) -> str:
        """Merkle root of what answers."""
        return self.manifest.merkle_root

    @cached_property
    def headers(self) -> dict[str, str]:
        """Headers of every answer."""
        headers = {"x-model-version": self.version, "x-model-digest": self.digest}
        if self.event_time is not None:
            headers["x-model-watermark"] = rfc3339(self.event_time)
        if self.sequence is not None:
            headers["x-model-sequence"] = str(self.sequence)
        return headers


def rfc3339(seconds: float) -> str:
    """Return seconds since the epoch as RFC 3339 in UTC with milliseconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
