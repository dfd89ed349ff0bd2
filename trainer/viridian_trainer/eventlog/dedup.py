"""Finding events that were delivered twice, and events that came late.

The horizon travels with the model: the hashes of the last event ids stand in ``optimizer.safetensors`` of
the bundle, so that a duplicate in the next window is found as well.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from viridian_model.ids import id_hash

HORIZON = 100_000


class RecentIds:
    """Hashes of the last ``horizon`` distinct event ids, oldest first.

    Two different ids share a hash with probability 2**-64 a pair: about 5e-15 for an id against a full
    horizon.
    """

    def __init__(self, hashes: Iterable[int] = (), horizon: int = HORIZON) -> None:
        self._horizon = horizon
        self._seen: dict[int, None] = dict.fromkeys(hashes)

    def add(self, event_id: str) -> bool:
        """Remember ``event_id``; false if it is already known within the horizon."""
        key = id_hash(event_id)
        if key in self._seen:
            return False
        self._seen[key] = None
        if len(self._seen) > self._horizon:
            del self._seen[next(iter(self._seen))]
        return True

    def __contains__(self, event_id: str) -> bool:
        return id_hash(event_id) in self._seen

    def __len__(self) -> int:
        return len(self._seen)

    def array(self) -> NDArray[np.int64]:
        """Hashes, shape (n,), oldest first."""
        return np.fromiter(self._seen, dtype=np.int64, count=len(self._seen))


class Watermark:
    """Event time up to which events are expected to have arrived, in seconds since the epoch.

    It is the greatest time seen minus ``lateness``. Late events are counted and used all the same.
    """

    def __init__(self, newest: float = float("-inf"), lateness: float = 60.0) -> None:
        self.newest = newest
        self._lateness = lateness

    def is_late(self, moment: float) -> bool:
        """Whether an event of time ``moment`` comes behind the watermark; moves the watermark on."""
        late = moment < self.newest - self._lateness
        self.newest = max(self.newest, moment)
        return late
