"""The one writer of a model: lease, fencing token, publication."""

from __future__ import annotations

from collections.abc import Callable

from viridian_model.chain.delta import Delta
from viridian_model.publication.head import Anchor, Head
from viridian_model.store.protocol import Store


class LeaseHeld(Exception):
    """Somebody else holds the lease; the text says who and until when."""


class Fenced(Exception):
    """A writer with a higher token, or a revert, came in between: acquire again and go on from the head."""


class Publisher:
    """Holds the lease of a model and is the only one whose publications count.

    One object belongs to one thread. After `StoreUnavailable` the same call may be made again; whatever became of the
    first try, the publication happens once.
    """

    def __init__(
        self, store: Store, model: str, holder: str, *, ttl: float = 15.0, clock: Callable[[], float] | None = None
    ) -> None:
        """``holder`` names this process for people; ``ttl`` is how long the lease lasts without `renew`, in seconds."""

    def acquire(self) -> Head | None:
        """Take the lease, write the new token into the head, and return the head (nothing before the first epoch).

        Raises:
            LeaseHeld: somebody else holds it.
            StoreUnavailable: call again.
        """
        raise NotImplementedError

    def renew(self) -> None:
        """Hold the lease for another ``ttl``; call it every third of that.

        Raises:
            Fenced: somebody else has it.
        """
        raise NotImplementedError

    def release(self) -> None:
        """Give the lease up, so that the next writer need not wait."""
        raise NotImplementedError

    @property
    def head(self) -> Head | None:
        """The head as this writer left it; no network."""
        raise NotImplementedError

    @property
    def token(self) -> int:
        """The fencing token."""
        raise NotImplementedError

    def begin_epoch(
        self, anchor: Anchor, *, trained_to: dict[str, str], event_time: float | None, reason: str = ""
    ) -> Head:
        """Make an anchor (whose files are in the store, see `viridian_model.publication.anchors`) the new head.

        Raises:
            Fenced: this writer was followed by another.
            Absent: the anchor is not in the store.
        """
        raise NotImplementedError

    def publish(self, delta: Delta) -> Head:
        """Write payload and manifest, then make it the last link of the head.

        Raises:
            Fenced: this writer was followed by another, or the head was reverted.
            HeadError: its parent is not the head, or the chain is full: `compact` first.
        """
        raise NotImplementedError

    def compact(self, keep: int = 0) -> Head:
        """Merge all links but the last ``keep`` into one; sequence and root stay as they are."""
        raise NotImplementedError


def revert(store: Store, model: str, to: str, reason: str, *, clock: Callable[[], float] | None = None) -> Head:
    """Make an older state the head, with a higher epoch and token; whoever may write the store may call it.

    Args:
        to: ``anchor``, the sequence (``7.3``) of a link of the present chain or of a retained head, or the digest of an
            anchor of a retained head.
        reason: one sentence for people, kept in the head.

    Raises:
        HeadError: no head leads there any more; names what there is.
        Conflict: others kept writing the head.
    """
    raise NotImplementedError
