"""Publishing deltas beside the training: one at a time, in a thread of its own, skipped while the store is slow."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Collection
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from viridian_model.canonical import canonical_json
from viridian_model.chain.builder import Built, DeltaBuilder, Selection
from viridian_model.chain.delta import Trained
from viridian_model.chain.state import ModelState
from viridian_model.errors import BadDelta
from viridian_model.inference import Golden, golden_answers
from viridian_model.publication.garbage import GarbageCollector
from viridian_model.publication.head import Anchor, Head
from viridian_model.publication.lease import Fenced, LeaseHeld
from viridian_model.publication.publisher import Publisher
from viridian_model.publication.reverting import ANCHOR, revert
from viridian_model.served import state_of
from viridian_model.store import StoreError, StoreRefused, StoreUnavailable
from viridian_trainer.errors import BadConfig, StoreUnreachable
from viridian_trainer.online.branch import Branch
from viridian_trainer.online.hygiene import Subject, failed_check, finite

#: Links of a chain before it is merged; well below the limit, so that readers that come late fetch few files.
COMPACT_AT = 64
#: The lease lasts so many seconds; it is renewed every third of that.
LEASE_SECONDS = 15.0
#: Seconds between two collections of garbage.
COLLECT_SECONDS = 600.0
#: Seconds between two looks at the head while nothing is published.
CHECK_SECONDS = 1.0
#: The rate of publication is that of so many seconds.
RATE_SECONDS = 60.0
#: How long a store may be away before a start gives up.
PATIENCE = 120.0
#: Waits for so many seconds; may raise ``Stopped``.
Pause = Callable[[float], None]
_log = logging.getLogger(__name__)


class Unsound(Exception):
    """A delta failed its checks; it was not published. The text says which and why."""


class Sent:
    """What was published by this process: deltas and the bytes of their payloads, and how many there were of late."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """``clock`` gives seconds."""
        self._clock, self._since = clock, clock()
        self._recent: deque[float] = deque()
        self.deltas = self.bytes = 0

    def add(self, size: int) -> None:
        """A delta with a payload of ``size`` bytes."""
        self.deltas += 1
        self.bytes += size
        self._recent.append(self._clock())

    def wire(self) -> dict[str, Any]:
        """For the status."""
        return {"deltas": self.deltas, "bytes": self.bytes, "perSecond": round(self._rate(), 3)}

    def _rate(self) -> float:
        """Deltas per second over the newest `RATE_SECONDS`, or since the start: one that stalls is seen to."""
        now = self._clock()
        while self._recent and self._recent[0] <= now - RATE_SECONDS:
            self._recent.popleft()
        return len(self._recent) / min(RATE_SECONDS, max(1.0, now - self._since))


class Publication:
    """The only one that talks to the publisher. ``head`` is what readers follow, as far as is known here.

    Any call may raise ``Fenced``: somebody else wrote the head, or took the lease.
    """

    def __init__(
        self, publisher: Publisher, model: str, selection: Selection, pause: Pause, lease: float = LEASE_SECONDS
    ) -> None:
        """``model`` is what the deltas are of, ``selection`` what goes into them; ``lease`` is how long the lease of
        ``publisher`` lasts, in seconds; ``pause`` waits between two tries.
        """
        self._publisher, self._model, self._selection, self._pause = publisher, model, selection, pause
        self._renew_after = lease / 3
        self._thread = ThreadPoolExecutor(1, "publisher")
        self._running: Future[Head] | None = None
        self._built: Built | None = None
        self._builder: DeltaBuilder | None = None
        self._garbage = GarbageCollector(publisher)
        self._away = False
        self._renewed = self._checked = time.monotonic()
        self._collect_at = time.monotonic() + COLLECT_SECONDS
        self.head: Head | None = None
        self.sent = Sent()

    @property
    def token(self) -> int:
        """The fencing token."""
        return self._publisher.token

    @property
    def busy(self) -> bool:
        """Whether a delta is under way."""
        return self._running is not None and not self._running.done()

    @property
    def unsent(self) -> bool:
        """Whether a delta waits for a store that did not answer."""
        return self._built is not None and self._running is None

    def acquire(self, tell: Callable[[str], None]) -> Head | None:
        """Take the lease, however long another writer holds it; ``tell`` is told who does.

        Raises
        ------
        StoreUnreachable
            If the store does not answer for `PATIENCE` seconds.
        """
        self._drop()
        while True:
            try:
                self.head = self._patiently(self._publisher.acquire)
            except LeaseHeld as error:
                tell(str(error))
                self._pause(self._renew_after / 3)
            else:
                self._renewed = time.monotonic()
                return self.head

    def serve(self, anchor: str, served: ModelState) -> None:
        """From here on deltas are built against ``served``, the state of the head, on the anchor of a digest."""
        self._drop()
        self._builder = DeltaBuilder(self._model, anchor, served, self._selection)
        if self.head is None or self._builder.root != self.head.root:
            raise RuntimeError("the state that deltas are built against is not that of the head")

    def begin_epoch(self, anchor: Anchor, trained_to: dict[str, str], event_time: float | None) -> Head:
        """Make an anchor the head; see `Publisher.begin_epoch`."""
        self._drop()
        begin = self._publisher.begin_epoch
        self.head = self._patiently(lambda: begin(anchor, trained_to=trained_to, event_time=event_time))
        return self.head

    def revert(self, reason: str) -> Head:
        """Bring all readers back to the anchor of the head, and take the lease again with a higher token."""
        self._drop()
        store, chain = self._publisher.store, self._publisher.chain
        self._patiently(lambda: revert(store, chain, ANCHOR, reason))
        self.head = head = self._patiently(self._publisher.acquire)
        if head is None:
            raise RuntimeError("the head is gone from the store")
        return head

    def offer(self, branch: Branch, *, everything: bool = False) -> bool:
        """Begin to publish what changed since the last delta; false if nothing did, or one is still under way.

        ``everything`` leaves nothing for later, whatever the selection says.

        Raises
        ------
        Unsound
            If the delta fails a check.
        """
        self.settle()
        if self._running is not None or self._builder is None:
            return False
        if self._built is None:
            self._built = self._build(branch, self._builder, everything)
        if self._built is None:
            return False
        self._running = self._thread.submit(self._publish, self._built)
        return True

    def settle(self, *, wait: bool = False) -> None:
        """Take the outcome of what is under way; while the store does not answer, the same delta stays to be sent.

        Raises
        ------
        Fenced
            If somebody else wrote the head.
        """
        if self._running is None or not (wait or self._running.done()):
            return
        running, self._running = self._running, None
        try:
            head = _said(running.result)
        except StoreUnavailable as error:
            if not self._away:
                _log.warning("the store does not answer, the delta is sent again: %s", error)
            self._away = True
            return
        if self._away:
            _log.info("the store answers again")
        self._away = False
        if self._built is None or self._builder is None:
            raise RuntimeError("a delta was published that nobody built")
        self._builder.commit(self._built)
        self.sent.add(self._built.delta.manifest.payload.size)
        self.head, self._built = head, None

    def flush(self, branch: Branch) -> bool:
        """Publish until readers have the weights of ``branch``, rounding apart; false if the store does not answer."""
        self.settle(wait=True)
        for _ in range(2):  # a delta that was left over, then the rest
            if not self.offer(branch, everything=True):
                break
            self.settle(wait=True)
        return self._built is None

    def collect(self, pinned: Collection[str]) -> None:
        """Remove now and then, between two deltas, what nobody refers to any more, but for these digests."""
        if time.monotonic() < self._collect_at or self._running is not None:
            return
        self._collect_at = time.monotonic() + COLLECT_SECONDS
        self._thread.submit(self._collect, frozenset(pinned))

    def _collect(self, pinned: Collection[str]) -> None:
        try:
            removed = self._garbage.collect(pinned)
        except (StoreError, Fenced) as error:  # the next delta meets it too, and then it matters
            _log.warning("garbage is left: %s", error)
        else:
            _log.info("garbage collected", extra={"files": removed})

    def keep_lease(self) -> None:
        """Renew the lease if it is time, and see whether the head is still ours, unless something is under way.

        While nothing is published no compare-and-set tells that somebody else wrote the head.
        """
        now = time.monotonic()
        if self._running is not None or now - self._checked < CHECK_SECONDS:
            return
        self._checked = now
        try:
            if now - self._renewed > self._renew_after:
                self._renewed = now
                self._call(self._publisher.renew)
            if self._built is None:
                self._call(self._publisher.check)
        except StoreUnavailable as error:
            _log.warning("lease and head cannot be looked at, the store does not answer: %s", error)

    def close(self) -> None:
        """Give up the lease, if it is ours, and end the thread."""
        self._drop()
        try:
            if self.token:
                self._call(self._publisher.release)
        except (StoreUnavailable, Fenced) as error:
            _log.warning("the lease is not given up: %s", error)
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _drop(self) -> None:
        """Wait for what is under way and forget it: the head is about to be another one."""
        if self._running is not None:
            self._running.exception()
        self._running = self._built = self._builder = None

    def _patiently[T](self, work: Callable[[], T]) -> T:
        return self._call(lambda: patiently(work, self._pause))

    def _call[T](self, work: Callable[[], T]) -> T:
        return _said(self._thread.submit(work).result)

    def _publish(self, built: Built) -> Head:
        if self.head is not None and len(self.head.chain) >= COMPACT_AT:
            self._publisher.compact()
        if time.monotonic() - self._renewed > self._renew_after:
            self._publisher.renew()
            self._renewed = time.monotonic()
        return self._publisher.publish(built.delta)

    def _build(self, branch: Branch, builder: DeltaBuilder, everything: bool) -> Built | None:
        model, learner = branch.learner.model, branch.learner
        asked = [request.inputs for request in branch.champion.bundle.golden.requests]
        golden = golden_answers(model.eval(), asked)
        model.train()
        events = branch.events_since_delta()
        trained = Trained(trained_to=dict(learner.offsets), event_time=learner.watermark.newest, events=events)
        rows, answers = branch.touched.drain(), self._expected(golden)
        try:
            built = builder.build(state_of(model), rows, trained, answers, everything=everything)
        except BadDelta as error:
            raise Unsound(error.message) from error
        if built and (problem := failed_check(Subject(built.change, builder.served, golden), branch.champion.baseline)):
            raise Unsound(problem)
        return built

    def _expected(self, golden: Golden) -> bytes | None:
        """What readers must answer after a delta: not known where they do not have exactly the trainer's weights.

        What is not finite is no JSON, and refused by the checks of the delta.
        """
        return canonical_json(golden.to_json()) if self._selection.is_exact and finite(golden) else None


def patiently[T](work: Callable[[], T], pause: Pause) -> T:
    """What ``work`` gives, tried again while the store does not answer.

    Raises
    ------
    StoreUnreachable
        If it does not for `PATIENCE` seconds.
    """
    begun = time.monotonic()
    while True:
        try:
            return work()
        except StoreUnavailable as error:
            if time.monotonic() - begun > PATIENCE:
                raise StoreUnreachable(f"the store does not answer: {error}") from error
            pause(1.0)


def _said[T](answer: Callable[[], T]) -> T:
    """Turn a refusal of the store into a failure that people understand."""
    try:
        return answer()
    except StoreRefused as error:
        raise BadConfig(f"VIRIDIAN_STORE: {error}") from error
