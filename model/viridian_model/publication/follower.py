"""From a head to what has to be fetched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from viridian_model.chain.delta import Delta, DeltaManifest
from viridian_model.publication import keys
from viridian_model.publication.head import Head, check_follows
from viridian_model.publication.links import BrokenLink, Fault, fetch_delta, fetch_manifest
from viridian_model.store.protocol import Store, Versioned


@dataclass(frozen=True)
class Position:
    """What a reader has: the digest of an anchor, those of the deltas that it has applied, and the resulting root."""

    anchor: str
    chain: tuple[str, ...]
    root: str


@dataclass(frozen=True)
class Plan:
    """How to get to ``head``: from ``start``, which is one of the reader's own positions, or where that is nothing from
    the anchor of the head, apply ``deltas`` (digests) in their order."""

    head: Head
    start: Position | None
    deltas: tuple[str, ...]

    @property
    def position(self) -> Position:
        """Where the reader stands afterwards."""
        return Position(self.head.anchor.digest, self.head.chain, self.head.root)


class Follower:
    """Reads the head of one chain and never goes back; belongs to one thread."""

    def __init__(self, store: Store, chain: str) -> None:
        """Nothing is read yet."""
        self._store, self._chain = store, chain
        self._record = store.record(keys.head(chain))
        self._head: Head | None = None
        self._seen: str | None = None
        self._manifests: dict[str, DeltaManifest] = {}

    @property
    def head(self) -> Head | None:
        """The newest head that was accepted; no network."""
        return self._head

    def poll(self, timeout: float = 0.0) -> Head | None:
        """Wait for up to ``timeout`` seconds for a head that is newer than the last, and return it, or nothing.

        Raises:
            HeadError: the record does not fit, or would lead back; told once. What was accepted before stays.
            StoreUnavailable, StoreRefused: the store did not answer, or said no.
        """
        if not self._record.wait(self._seen, timeout):
            return None
        found = self._record.read()
        if found is None or found.version == self._seen:
            return None
        return self._accept(found)

    def plan(self, head: Head, have: Sequence[Position] = ()) -> Plan:
        """Say what to fetch, given the states that the reader has in memory, so that it is the fewest deltas.

        Asks the store for manifests only where no chain of ``have`` is the beginning of that of the head.

        Raises:
            BrokenLink: a manifest is missing or corrupted.
        """
        mine = [each for each in have if each.anchor == head.anchor.digest]
        beginnings = [each for each in mine if head.chain[: len(each.chain)] == each.chain]
        # The anchor is the beginning of every chain: where links were merged, something nearer may be at hand.
        if any(each.chain for each in beginnings) or (beginnings and len(beginnings) == len(mine)):
            best = max(beginnings, key=lambda each: len(each.chain))
            return Plan(head, best, head.chain[len(best.chain) :])
        return self._by_roots(head, {each.root: each for each in mine})

    def fetch(self, digest: str, parent_root: str) -> Delta:
        """Fetch a delta and verify it: digest of the manifest, size and SHA-256 of the payload, and its parent.

        Raises:
            BrokenLink: it is missing, corrupted, truncated, or does not follow on ``parent_root``.
        """
        manifest = self._manifest(digest)
        if manifest.parent_root != parent_root:
            raise BrokenLink(Fault.REORDERED, digest, f"follows on root {manifest.parent_root}, not on {parent_root}")
        return fetch_delta(self._store, self._chain, digest, manifest)

    def _accept(self, found: Versioned) -> Head:
        self._seen = found.version
        head = Head.parse(found.data)
        if self._head is not None:
            check_follows(self._head, head)
        self._head = head
        self._manifests = {digest: self._manifests[digest] for digest in head.chain if digest in self._manifests}
        return head

    def _by_roots(self, head: Head, have: dict[str, Position]) -> Plan:
        """Links were merged, or the reader is ahead of a revert: look from the end for a root that it has."""
        for links in range(len(head.chain), -1, -1):
            root = self._manifest(head.chain[links - 1]).root if links else head.anchor.root
            if root in have:
                return Plan(head, have[root], head.chain[links:])
        return Plan(head, None, head.chain)

    def _manifest(self, digest: str) -> DeltaManifest:
        if digest not in self._manifests:
            self._manifests[digest] = fetch_manifest(self._store, self._chain, digest)
        return self._manifests[digest]
