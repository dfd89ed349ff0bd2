"""The one writer of a chain: lease, fencing token, publication."""

from __future__ import annotations

import time
from collections.abc import Callable

from viridian_model.chain.compaction import merge
from viridian_model.chain.delta import Delta
from viridian_model.publication import keys
from viridian_model.publication.head import MAX_LINKS, Anchor, Head, HeadError, check_follows
from viridian_model.publication.lease import Fenced, Lease, LeaseHeld
from viridian_model.publication.links import fetch_delta, fetch_manifest, put_delta
from viridian_model.store.protocol import Conflict, Store

_TRIES = 10


class Publisher:
    """Holds the lease of a chain and is the only one whose publications count; belongs to one thread.

    After `StoreUnavailable` make the same call again: whatever became of the first try, it takes effect once.
    """

    def __init__(
        self, store: Store, chain: str, holder: str, *, ttl: float = 15.0, clock: Callable[[], float] = time.time
    ) -> None:
        """``holder`` is the name of this process, under which it finds its own lease again after a restart; ``ttl`` is
        how long the lease lasts without `renew`, in seconds."""
        self.store, self.chain = store, chain
        self._clock, self._lease = clock, Lease(store, chain, holder, ttl, clock)
        self._record = store.record(keys.head(chain))
        self._head: Head | None = None
        self._version: str | None = None

    @property
    def head(self) -> Head | None:
        """The head as this writer left it; no network."""
        return self._head

    @property
    def token(self) -> int:
        """The fencing token, 0 before `acquire`."""
        return self._lease.token

    def acquire(self) -> Head | None:
        """Take the lease, write the new token into the head, and return the head (nothing before the first epoch).

        Raises:
            LeaseHeld: somebody else holds it.
            StoreUnavailable: call again.
        """
        for _ in range(_TRIES):
            self._read()
            token = self._lease.take(self._head.token if self._head else 0)
            if self._head is None or self._raise_token(token):
                return self._head
        raise LeaseHeld("the head is reverted again and again")

    def renew(self) -> None:
        """Hold the lease for another ``ttl``; call it every third of that.

        Raises:
            Fenced: somebody else has it.
        """
        self._lease.renew()

    def check(self) -> None:
        """See whether the head is the one that this writer wrote last; only while none of its writes is in doubt.

        Raises:
            Fenced: somebody else wrote it.
        """
        found = self._record.read()
        if found is not None and found.version != self._version:
            there = Head.parse(found.data)
            raise Fenced(f"the head is {there.sequence} of token {there.token}, this writer has token {self.token}")

    def release(self) -> None:
        """Give the lease up, so that the next writer need not wait.

        Raises:
            Fenced: it is somebody else's already.
        """
        self._lease.release()

    def begin_epoch(
        self, anchor: Anchor, *, trained_to: dict[str, str], event_time: float | None, reason: str = ""
    ) -> Head:
        """Make an anchor (whose files are in the store, see `viridian_model.publication.anchors`) the new head.

        Raises:
            Fenced: this writer was followed by another, or the head was reverted.
            Absent: the anchor is not in the store.
        """
        self.store.get(keys.bundle_file(self.chain, anchor.digest, keys.MANIFEST))
        return self._replace(
            Head(
                epoch=(self._head.epoch if self._head else 0) + 1,
                n=0,
                anchor=anchor,
                root=anchor.root,
                token=self.token,
                trained_to=trained_to,
                event_time=event_time,
                published_at=self._clock(),
                reason=reason,
            ),
            retain=True,
        )

    def publish(self, delta: Delta) -> Head:
        """Write payload and manifest, then make it the last link of the head.

        Raises:
            Fenced: this writer was followed by another, or the head was reverted.
            HeadError: it does not follow on the head, or the chain is full: `compact` first.
        """
        head = self._required()
        manifest = delta.manifest
        if (manifest.anchor, manifest.parent_root) != (head.anchor.digest, head.root):
            raise HeadError(f"the delta follows on root {manifest.parent_root}, the head is {head.root}")
        if len(head.chain) == MAX_LINKS:
            raise HeadError(f"the chain has {MAX_LINKS} links: compact it, or begin an epoch")
        put_delta(self.store, self.chain, delta)
        return self._replace(
            head.but(
                n=head.n + 1,
                chain=(*head.chain, delta.digest),
                root=manifest.root,
                size=head.size + manifest.payload.size,
                trained_to=manifest.trained_to,
                event_time=manifest.event_time,
                published_at=self._clock(),
                reason="",
            )
        )

    def compact(self, keep: int = 0) -> Head:
        """Merge all links but the last ``keep`` into one; sequence and root stay as they are.

        Raises:
            Fenced: this writer was followed by another, or the head was reverted.
            BrokenLink: a link cannot be read.
        """
        head = self._required()
        old, kept = head.chain[: len(head.chain) - keep], head.chain[len(head.chain) - keep :]
        if len(old) < 2:
            return head
        deltas = [
            fetch_delta(self.store, self.chain, each, fetch_manifest(self.store, self.chain, each)) for each in old
        ]
        merged = merge(deltas)
        put_delta(self.store, self.chain, merged)
        saved = sum(delta.manifest.payload.size for delta in deltas) - merged.manifest.payload.size
        return self._replace(head.but(chain=(merged.digest, *kept), size=head.size - saved), retain=True)

    def _required(self) -> Head:
        if self._head is None:
            raise HeadError(f"chain {self.chain} has no head yet: begin an epoch with an anchor")
        return self._head

    def _read(self) -> None:
        found = self._record.read()
        self._head, self._version = (Head.parse(found.data), found.version) if found else (None, None)

    def _raise_token(self, token: int) -> bool:
        """Write the token into the head; false if somebody wrote a token as high in between."""
        while self._head is not None and self._head.token < token:
            raised = self._head.but(token=token)
            try:
                self._version = self._record.compare_and_set(self._version, raised.encode())
            except Conflict:
                self._read()
            else:
                self._head = raised
                return True
        return False

    def _replace(self, head: Head, *, retain: bool = False) -> Head:
        if self._head is not None:
            check_follows(self._head, head)
            if retain:
                put_retained(self.store, self.chain, self._head, self._clock())
        try:
            self._version = self._record.compare_and_set(self._version, head.encode())
        except Conflict:
            head = self._own(head)
        self._head = head
        return head

    def _own(self, head: Head) -> Head:
        """Return the head that stands in the store if it is ``head``, from a first try of which the answer was lost."""
        found = self._record.read()
        there = Head.parse(found.data) if found else None
        if found is None or there is None or there.but(published_at=head.published_at) != head:
            what = f"{there.sequence} of token {there.token}" if there else "gone"
            raise Fenced(f"the head is {what}, this writer has token {self.token}")
        self._version = found.version
        return there


def put_retained(store: Store, chain: str, head: Head, now: float) -> None:
    """Keep a head that something else than the next delta takes the place of."""
    store.put_new(keys.retained(chain, head), head.but(replaced_at=now).encode())
