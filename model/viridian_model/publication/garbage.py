"""Removal of what nothing refers to any more."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping

from viridian_model.canonical import directory_name
from viridian_model.chain.delta import DeltaManifest
from viridian_model.publication import keys
from viridian_model.publication.head import Head
from viridian_model.publication.links import fetch_manifest
from viridian_model.publication.publisher import Publisher
from viridian_model.publication.reverting import retained_heads


class GarbageCollector:
    """Removes what nothing referred to in every pass of ``grace`` seconds; the holder of the lease runs it, between
    its publications.

    A revert that has found a retained head has the grace to finish: the head is forgotten first, and what it referred
    to is removed only if nothing refers to it after that time either.
    """

    def __init__(
        self,
        publisher: Publisher,
        *,
        retention: float = 86400.0,
        grace: float = 600.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Heads that were replaced less than ``retention`` seconds ago stay whole."""
        self._publisher, self._retention, self._grace, self._clock = publisher, retention, grace, clock
        self._unreferenced_since: dict[str, float] = {}

    def collect(self, pinned: Collection[str] = ()) -> int:
        """Remove what may go, and return how many files that were.

        Args:
            pinned: digests of bundles, also of one that is just being written, or of deltas (their anchor and the links
                before them are kept with them).

        Raises:
            Fenced: another writer holds the lease; nothing was removed.
        """
        store, chain, now = self._publisher.store, self._publisher.chain, self._clock()
        store.tidy()
        files = [*store.keys(keys.deltas(chain)), *store.keys(keys.bundles(chain))]
        unreferenced = self._unreferenced(files, self._kept(pinned, now))
        self._unreferenced_since = {key: self._unreferenced_since.get(key, now) for key in unreferenced}
        due = {key for key, since in self._unreferenced_since.items() if now - since >= self._grace}
        if not due:
            return 0
        self._publisher.renew()
        due &= self._unreferenced(due, self._kept(pinned, now))
        # A manifest goes before what it lists: what has no manifest is not there.
        for key in sorted(due, key=lambda key: not _is_manifest(key)):
            store.delete(key)
            del self._unreferenced_since[key]
        return len(due)

    def _kept(self, pinned: Collection[str], now: float) -> set[str]:
        """Digests that head, retained heads and pins refer to; heads beyond the retention are forgotten."""
        store, chain = self._publisher.store, self._publisher.chain
        found = store.record(keys.head(chain)).read()
        heads = [Head.parse(found.data)] if found else []
        for key, head in retained_heads(store, chain):
            if head.replaced_at is not None and now - head.replaced_at > self._retention:
                store.delete(key)
            else:
                heads.append(head)
        kept = {digest for head in heads for digest in (head.anchor.digest, *head.chain)} | set(pinned)
        return kept | self._before(set(pinned) - {head.anchor.digest for head in heads})

    def _before(self, pinned: set[str]) -> set[str]:
        """Anchors and earlier links of pinned deltas."""
        store, chain = self._publisher.store, self._publisher.chain
        names = {key.rpartition("/")[2] for key in store.keys(keys.deltas(chain))}
        if not any(f"{directory_name(digest)}.json" in names for digest in pinned):
            return set()
        manifests = {}
        for name in names:
            if _is_manifest(name):
                digest = f"sha256:{name.removesuffix('.json')}"
                manifests[digest] = fetch_manifest(store, chain, digest)
        return links_before(pinned, manifests)

    @staticmethod
    def _unreferenced(files: Iterable[str], kept: set[str]) -> set[str]:
        names = {directory_name(digest) for digest in kept}
        return {key for key in files if _digest_of(key) not in names}


def links_before(pinned: Collection[str], manifests: Mapping[str, DeltaManifest]) -> set[str]:
    """Return what is needed to arrive at the pinned deltas: their anchors, and all links that may lead there."""
    by_root: dict[tuple[str, str], list[str]] = {}
    for digest, manifest in manifests.items():
        by_root.setdefault((manifest.anchor, manifest.root), []).append(digest)
    needed: set[str] = set()
    waiting = [digest for digest in pinned if digest in manifests]
    while waiting:
        manifest = manifests[waiting.pop()]
        parents = by_root.get((manifest.anchor, manifest.parent_root), [])
        waiting.extend(digest for digest in parents if digest not in needed)
        needed |= {manifest.anchor, *parents}
    return needed


def _digest_of(key: str) -> str:
    """``<chain>/deltas/<digest>.json`` and ``<chain>/bundles/<digest>/<file>`` alike."""
    return key.split("/")[2].partition(".")[0]


def _is_manifest(key: str) -> bool:
    name = key.rpartition("/")[2]
    return name == keys.MANIFEST or (name.endswith(".json") and name.count(".") == 1)
