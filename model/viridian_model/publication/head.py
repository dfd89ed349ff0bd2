"""The head: which anchor and which deltas are served, and what may follow on it."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic.alias_generators import to_camel

from viridian_model.canonical import canonical_json

MAX_LINKS = 128
"""Deltas of a chain; see docs/reference/online.md."""

Digest = Annotated[str, StringConstraints(pattern="^sha256:[0-9a-f]{64}$")]


class Sequence(NamedTuple):
    """``epoch.n``; a higher one is newer."""

    epoch: int
    n: int

    def __str__(self) -> str:
        return f"{self.epoch}.{self.n}"

    @classmethod
    def parse(cls, text: str) -> Sequence:
        """Read ``7.12``.

        Raises:
            ValueError: it is not of that form.
        """
        epoch, dot, n = text.partition(".")
        if not (dot and epoch.isdecimal() and n.isdecimal()):
            raise ValueError(f"{text!r} is not a sequence like 7.12")
        return cls(int(epoch), int(n))


class HeadError(Exception):
    """A head is malformed, or may not take the place of the one before; the text says why."""


class _Part(BaseModel):
    # What a later version adds is kept.
    model_config = ConfigDict(frozen=True, extra="allow", alias_generator=to_camel, populate_by_name=True)


class Anchor(_Part):
    """A bundle of the store: version in the registry, digest, Merkle root, and the bytes of its weights."""

    version: str
    digest: Digest
    root: str
    size: Annotated[int, Field(ge=0)] = 0


class Head(_Part):
    """All of ``<model>/head``."""

    epoch: Annotated[int, Field(ge=0)]
    n: Annotated[int, Field(ge=0)]
    anchor: Anchor
    chain: Annotated[tuple[Digest, ...], Field(max_length=MAX_LINKS)] = ()
    root: str
    token: Annotated[int, Field(ge=0)]
    bytes: Annotated[int, Field(ge=0)] = 0
    trained_to: dict[str, str]
    event_time: float | None = None
    published_at: float
    reason: str = ""

    @property
    def sequence(self) -> Sequence:
        """Where it stands."""
        return Sequence(self.epoch, self.n)

    @classmethod
    def parse(cls, data: bytes) -> Head:
        """Read a head.

        Raises:
            HeadError: it does not fit.
        """
        try:
            return cls.model_validate(json.loads(data))
        except (ValueError, ValidationError) as error:
            raise HeadError(f"the head cannot be read: {error}") from None

    def encode(self) -> bytes:
        """Return the bytes of the record."""
        return canonical_json(self.model_dump(mode="json", by_alias=True))

    def but(self, **changes: Any) -> Head:
        """Return a checked copy with other values."""
        return type(self).model_validate(self.model_dump() | changes)


Step = Literal["Same", "Delta", "Compaction", "Revert", "Epoch", "Token"]


def step(before: Head, after: Head) -> Step:
    """Say what leads from one head to another; writers and readers alike take no other step.

    Raises:
        HeadError: nothing does: the token or the epoch is lower, or the epoch goes on with another history.
    """
    raise NotImplementedError
