"""How many trainings run at once, over all ModelUpdates of this operator.

Only the leader works, so the count is kept in its memory: who trains holds a slot from before its Job is made
until its status says that the training ended. A new leader counts the Jobs that run once, before it gives any.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from viridian_operator.act.manifests.owner import TRAINING
from viridian_operator.api.names import COMPONENT, MANAGED_BY, MANAGER, MODEL_UPDATE
from viridian_operator.api.status import ModelUpdateStatus, Phase
from viridian_operator.decide.observation import Slot
from viridian_operator.kube.cluster import Cluster
from viridian_operator.kube.resources import JOB, Key, Manifest

_TRAINS = frozenset({Phase.QUEUED, Phase.TRAINING})


class TrainingSlots:
    """Slots in the order in which updates began to wait.

    Parameters
    ----------
    limit
        Trainings at once; 0 for as many as ask.
    namespaces
        Where Jobs are counted at the start; none means everywhere.
    wake
        Called with the keys that a free slot may go to.
    """

    def __init__(self, cluster: Cluster, limit: int, namespaces: Sequence[str], wake: Callable[[Key], None]) -> None:
        self._cluster, self._limit, self._namespaces, self._wake = cluster, limit, namespaces, wake
        self._held: set[Key] = set()
        self._waiting: dict[Key, datetime] = {}
        self._counted = False
        self._counting = asyncio.Lock()

    async def ask(self, key: Key, status: ModelUpdateStatus) -> Slot:
        """Whether the ModelUpdate may make its training Job now; one that already did keeps its slot.

        Raises
        ------
        ApiError
            If the Jobs that run could not be counted.
        """
        if not self._limit:
            return Slot()
        update = status.update
        if update is None or update.phase not in _TRAINS:
            self.settle(key, status)
            return Slot(limit=self._limit, held=False)
        await self._count()
        if update.phase is Phase.TRAINING or update.attempts.seen:
            self._hold(key)
        elif key not in self._held:
            self._waiting.setdefault(key, update.phase_since)
            if self._ahead(key) < self._limit - len(self._held):
                self._hold(key)
        return Slot(limit=self._limit, held=key in self._held, ahead=self._ahead(key))

    def settle(self, key: Key, status: ModelUpdateStatus) -> None:
        """Take the slot back from an update that does not train any more."""
        if status.update is None or status.update.phase not in _TRAINS:
            self.forget(key)

    def forget(self, key: Key) -> None:
        """The ModelUpdate trains nothing, or is gone."""
        self._waiting.pop(key, None)
        if key in self._held:
            self._held.remove(key)
            free = self._limit - len(self._held)
            for other in sorted(self._waiting, key=self._waiting.__getitem__)[: max(free, 0)]:
                self._wake(other)

    def _hold(self, key: Key) -> None:
        self._waiting.pop(key, None)
        self._held.add(key)

    def _ahead(self, key: Key) -> int:
        since = self._waiting.get(key)
        return sum(other < since for other in self._waiting.values()) if since else 0

    async def _count(self) -> None:
        async with self._counting:
            if self._counted:
                return
            labels = {MANAGED_BY: MANAGER, COMPONENT: TRAINING}
            for namespace in self._namespaces or (None,):
                self._held.update(_training(await self._cluster.list(JOB, namespace, labels)))
            self._counted = True
            for key in self._held:
                self._wake(key)  # whose ModelUpdate is gone, or past its training, gives the slot back


def _training(jobs: Iterable[Manifest]) -> Iterable[Key]:
    for job in jobs:
        meta = job["metadata"]
        conditions = (job.get("status") or {}).get("conditions") or []
        ended = any(c["type"] in ("Complete", "Failed") and c["status"] == "True" for c in conditions)
        if not ended and MODEL_UPDATE in meta["labels"]:
            yield Key(meta["namespace"], meta["labels"][MODEL_UPDATE])
