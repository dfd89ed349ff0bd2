"""Going back to an older state by a new head."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

from viridian_model.publication import keys
from viridian_model.publication.head import Head, HeadError, Sequence
from viridian_model.publication.links import fetch_manifest
from viridian_model.publication.publisher import put_retained
from viridian_model.store.protocol import Conflict, Store

ANCHOR = "anchor"
_TRIES = 10


def revert(store: Store, chain: str, to: str, reason: str, *, clock: Callable[[], float] = time.time) -> Head:
    """Make an older state the head, with a higher epoch and token; whoever may write the store may call it.

    Args:
        to: ``anchor``, the sequence (``7.3``) of a link of the present chain or of a retained head, or the digest of an
            anchor of a retained head.
        reason: one sentence for people, kept in the head.

    Raises:
        HeadError: nothing leads there any more; says what there is.
        Conflict: others kept writing the head.
        BrokenLink, Absent: what the state consists of is not in the store.
    """
    record = store.record(keys.head(chain))
    for _ in range(_TRIES):
        found = record.read()
        if found is None:
            raise HeadError(f"chain {chain} has no head yet")
        head = Head.parse(found.data)
        reverted = _older(store, chain, head, to).but(
            epoch=head.epoch + 1, token=head.token + 1, published_at=clock(), reason=reason
        )
        put_retained(store, chain, head, clock())
        try:
            record.compare_and_set(found.version, reverted.encode())
        except Conflict:
            continue
        return reverted
    raise Conflict(f"others kept writing the head of chain {chain}")


def retained_heads(store: Store, chain: str) -> Iterator[tuple[str, Head]]:
    """Read the retained heads and their keys."""
    for key in store.keys(keys.heads(chain)):
        yield key, Head.parse(store.get(key))


def _older(store: Store, chain: str, head: Head, to: str) -> Head:
    """Return a head of which anchor, chain, n and root are those of ``to``."""
    if to == ANCHOR:
        return _cut(store, chain, head, 0)
    if (links := _links_to(head, to)) is not None:
        return _cut(store, chain, head, links)
    retained = sorted((each for _, each in retained_heads(store, chain)), key=lambda each: each.sequence)
    for candidate in retained:
        if (links := _links_to(candidate, to)) is not None:
            return _cut(store, chain, candidate, links)
    there = ", ".join(f"{each.sequence} on {each.anchor.digest}" for each in (*retained, head))
    raise HeadError(f"nothing leads to {to} any more; there is what leads to {there}")


def _links_to(head: Head, to: str) -> int | None:
    if to.startswith("sha256:"):
        return 0 if head.anchor.digest == to else None
    wanted = Sequence.parse(to)
    return head.links_at(wanted.n) if head.epoch == wanted.epoch else None


def _cut(store: Store, chain: str, head: Head, links: int) -> Head:
    """The state after the first ``links`` links of a head."""
    dropped = sum(fetch_manifest(store, chain, digest).payload.size for digest in head.chain[links:])
    n = head.n - len(head.chain) + links if links else 0
    cut: dict[str, Any] = {"n": n, "chain": head.chain[:links], "size": head.size - dropped, "replaced_at": None}
    if links == 0:
        bundle = json.loads(store.get(keys.bundle_file(chain, head.anchor.digest, keys.MANIFEST)))
        trained = {"trained_to": bundle["trainedTo"], "event_time": bundle.get("eventTime")}
        return head.but(root=head.anchor.root, **cut, **trained)
    last = fetch_manifest(store, chain, head.chain[links - 1])
    return head.but(root=last.root, trained_to=last.trained_to, event_time=last.event_time, **cut)
