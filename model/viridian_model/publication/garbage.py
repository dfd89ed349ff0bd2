"""Removal of what nothing refers to any more."""

from __future__ import annotations

from collections.abc import Callable, Collection

from viridian_model.store.protocol import Store


class GarbageCollector:
    """Removes blobs that were unreferenced in every pass of ``grace`` seconds; the holder of the lease runs it."""

    def __init__(
        self,
        store: Store,
        model: str,
        *,
        retention: float = 86400.0,
        grace: float = 600.0,
        clock: Callable[[], float] | None = None,
    ) -> None:
        """Heads that were replaced less than ``retention`` seconds ago stay whole."""

    def collect(self, pinned: Collection[str] = ()) -> int:
        """Remove what may go, and return how many blobs that were.

        Args:
            pinned: digests of bundles, or of deltas (their anchor and the links before them are kept with them).
        """
        raise NotImplementedError
