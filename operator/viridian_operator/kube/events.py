"""Kubernetes Events about transitions: a help for people, never a reason for a pass to fail."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from viridian_operator.api.base import rfc3339
from viridian_operator.kube.cluster import Cluster
from viridian_operator.kube.errors import ApiError, NotFound
from viridian_operator.kube.resources import EVENT, Manifest, ObjectRef

CONTROLLER = "viridian.dev/operator"
MESSAGE_LIMIT = 1024
QUEUE_LIMIT = 1000
REMEMBERED = 4096

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Happening:
    """What is told; equal ones within a window are one Event with a count."""

    about: ObjectRef
    reason: str
    message: str
    warning: bool


@dataclass
class _Posted:
    name: str
    count: int
    since: float


class EventRecorder:
    """Posts Events in the background.

    Parameters
    ----------
    cluster
        Where to post.
    instance
        This replica's identity.
    window
        Seconds during which a repetition only raises the count.
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        instance: str,
        window: float = 600.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cluster, self._instance, self._window, self._clock = cluster, instance, window, clock
        self._waiting: deque[Happening] = deque()
        self._wake = asyncio.Event()
        self._posted: dict[Happening, _Posted] = {}
        self._settled = asyncio.Event()
        self._settled.set()
        #: Events that were given up because too many waited or the API server refused them
        self.dropped = 0

    def record(self, about: ObjectRef, *, reason: str, message: str, warning: bool = False) -> None:
        """Tell that something happened to ``about``; returns at once and never fails."""
        if len(self._waiting) >= QUEUE_LIMIT:
            self.dropped += 1
            return
        self._waiting.append(Happening(about, reason[:128], message[:MESSAGE_LIMIT], warning))
        self._settled.clear()
        self._wake.set()

    async def run(self) -> None:
        """Post what is recorded, until cancelled."""
        while True:
            while self._waiting:
                await self._post(self._waiting.popleft())
            self._settled.set()
            self._wake.clear()
            await self._wake.wait()

    async def flush(self, limit: float) -> None:
        """Wait until everything is posted, at most ``limit`` seconds."""
        try:
            async with asyncio.timeout(limit):
                await self._settled.wait()
        except TimeoutError:
            log.info("%d events were not posted before the exit", len(self._waiting))

    async def _post(self, happening: Happening) -> None:
        try:
            if not await self._repeat(happening):
                await self._create(happening)
        except ApiError as error:
            self.dropped += 1
            log.info("event %s was not posted: %s", happening.reason, error)

    async def _repeat(self, happening: Happening) -> bool:
        posted = self._posted.get(happening)
        if posted is None or self._clock() - posted.since > self._window:
            return False
        series = {"count": posted.count + 1, "lastObservedTime": _now()}
        try:
            await self._cluster.patch(EVENT, happening.about.namespace, posted.name, {"series": series})
        except NotFound:  # It outlived the API server's retention.
            return False
        posted.count += 1
        return True

    async def _create(self, happening: Happening) -> None:
        created = await self._cluster.create(self._manifest(happening))
        while len(self._posted) >= REMEMBERED:
            del self._posted[next(iter(self._posted))]
        self._posted.pop(happening, None)
        self._posted[happening] = _Posted(created["metadata"]["name"], 1, self._clock())

    def _manifest(self, happening: Happening) -> Manifest:
        about, now = happening.about, _now()
        unique = hashlib.sha256(repr((happening, now, self._instance)).encode()).hexdigest()[:16]
        regarding = {
            "apiVersion": about.resource.api_version,
            "kind": about.resource.kind,
            "namespace": about.namespace,
            "name": about.name,
        } | ({"uid": about.uid} if about.uid else {})
        return ObjectRef(EVENT, about.namespace, f"{about.name}.{unique}").manifest() | {
            "eventTime": now,
            "reportingController": CONTROLLER,
            "reportingInstance": self._instance[:128],
            "action": "Reconcile",
            "reason": happening.reason,
            "regarding": regarding,
            "note": happening.message,
            "type": "Warning" if happening.warning else "Normal",
        }


def _now() -> str:
    return rfc3339(datetime.now(UTC))
