"""From a head to what has to be fetched."""

from __future__ import annotations

from collections.abc import Sequence as Many
from dataclasses import dataclass

from viridian_model.chain.delta import Delta
from viridian_model.publication.head import Anchor, Head
from viridian_model.store.protocol import Store


@dataclass(frozen=True)
class Position:
    """What a reader has: an anchor and the links that it has applied, and the Merkle root that this gave."""

    anchor: str
    chain: tuple[str, ...]
    root: str


@dataclass(frozen=True)
class Plan:
    """How to get to ``head``: begin with ``start`` (one of the reader's own positions), or with ``anchor`` where there
    is none, and apply ``deltas`` (digests) in their order."""

    head: Head
    start: Position | None
    anchor: Anchor | None
    deltas: tuple[str, ...]

    @property
    def position(self) -> Position:
        """Where the reader stands afterwards."""
        raise NotImplementedError


class BrokenLink(Exception):
    """A link of the head cannot be used: ``Missing``, ``Corrupted``, ``Truncated`` or ``Reordered``."""

    def __init__(self, fault: str, digest: str, message: str) -> None:
        super().__init__(message)
        self.fault, self.digest = fault, digest


class Follower:
    """Reads the head of one model and never goes back; belongs to one thread."""

    def __init__(self, store: Store, model: str) -> None: ...

    @property
    def head(self) -> Head | None:
        """The newest head that was accepted; no network."""
        raise NotImplementedError

    def poll(self, timeout: float = 0.0) -> Head | None:
        """Wait for up to ``timeout`` seconds for a head that is newer than the last, and return it, or nothing.

        Raises:
            HeadError: the record does not fit, or would lead back; what was accepted before stays.
            StoreUnavailable, StoreRefused: the store did not answer, or said no.
        """
        raise NotImplementedError

    def plan(self, head: Head, have: Many[Position]) -> Plan:
        """Say what to fetch, given the states that the reader has in memory, so that it is the fewest links."""
        raise NotImplementedError

    def fetch(self, digest: str, parent_root: str) -> Delta:
        """Fetch a delta and verify it: digest of the manifest, size and SHA-256 of the payload, its parent.

        Raises:
            BrokenLink: it is missing, corrupted, truncated, or does not follow on ``parent_root``.
        """
        raise NotImplementedError
