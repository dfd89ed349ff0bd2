"""The head: which anchor and which deltas are served, and what may follow on it."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

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
    """All of ``<chain>/head``; ``size`` is that of the payloads in bytes, only retained heads have ``replaced_at``."""

    epoch: Annotated[int, Field(ge=0)]
    n: Annotated[int, Field(ge=0)]
    anchor: Anchor
    chain: Annotated[tuple[Digest, ...], Field(max_length=MAX_LINKS)] = ()
    root: str
    token: Annotated[int, Field(ge=0)]
    size: Annotated[int, Field(ge=0, alias="bytes")] = 0
    trained_to: dict[str, str]
    event_time: float | None = None
    published_at: float
    reason: str = ""
    replaced_at: float | None = None

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
            return cls.model_validate_json(data)
        except ValidationError as error:
            raise HeadError(f"the head cannot be read: {error}") from None

    def encode(self) -> bytes:
        """Return the bytes of the record."""
        return canonical_json(self.model_dump(mode="json", by_alias=True, exclude_none=True))

    def links_at(self, n: int) -> int | None:
        """Return how many links of the chain lead to sequence ``n`` of this epoch, or nothing if none do any more.

        Only the first link can stand for several deltas.
        """
        links = len(self.chain) - (self.n - n)
        return links if 1 <= links <= len(self.chain) else 0 if n == 0 else None

    def but(self, **changes: Any) -> Head:
        """Return a checked copy with other values."""
        return type(self).model_validate(self.model_dump() | changes)


def check_follows(before: Head, after: Head) -> None:
    """Check that ``after`` may take the place of ``before``; writers write, and readers accept, no other.

    A reader may have missed any number of heads in between.

    Raises:
        HeadError: it would lead back, or go on with another history in the same epoch.
    """
    if after.token < before.token:
        raise HeadError(f"the token goes back from {before.token} to {after.token}")
    if after.sequence < before.sequence:
        raise HeadError(f"the sequence goes back from {before.sequence} to {after.sequence}")
    if after.epoch == before.epoch and after.anchor.digest != before.anchor.digest:
        raise HeadError(f"epoch {after.epoch} goes on with another anchor")
    if after.sequence == before.sequence and after.root != before.root:
        raise HeadError(f"sequence {after.sequence} has two roots")
