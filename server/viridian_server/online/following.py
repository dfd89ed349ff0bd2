"""A pod that follows the head of a store: the first load, and the threads that keep it there."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time

from viridian_model.publication.follower import Follower
from viridian_model.publication.head import Anchor, Head, HeadError
from viridian_model.publication.links import BrokenLink
from viridian_model.store import StoreError, open_store
from viridian_server.failure import LoadFailure, clear_termination_log, write_termination_log
from viridian_server.loading import Report, load
from viridian_server.metrics import Metrics
from viridian_server.online.chain import ChainSnapshot
from viridian_server.online.checking import Checker
from viridian_server.online.consistency import Pace
from viridian_server.online.damage import flip_later
from viridian_server.online.links import LinkIndex
from viridian_server.online.mending import Mender
from viridian_server.online.reaching import Reacher, Refused
from viridian_server.online.residents import ChainResidents
from viridian_server.online.reverting import Reverter
from viridian_server.revision import Revision
from viridian_server.settings import Settings
from viridian_server.state import ServerState

log = logging.getLogger(__name__)

_POLL_SECONDS = 1.0
_RETRY_SECONDS = 1.0
_STOP_SECONDS = 5.0


class Following:
    """Follows the head of one chain: `load`, then `start`, in the end `close`."""

    def __init__(self, revision: Revision, state: ServerState, metrics: Metrics, settings: Settings) -> None:
        """``revision`` says which chain of which model."""
        self._model, self._chain = revision.model, revision.chain
        self._state, self._metrics, self._settings = state, metrics, settings
        self._store = open_store(settings.chain_store, os.environ)
        self._follower = Follower(self._store, self._chain)
        self._links = LinkIndex(self._store, self._chain)
        self.residents = ChainResidents(state.residents, metrics.serve)
        self._reacher = Reacher(
            self._follower,
            self.residents,
            self._links,
            metrics,
            self._load_anchor,
            lambda each: self.checker.mend(each),
        )
        mender = Mender(self.residents, self._links, self._reacher.rebuild)
        self.checker = Checker(socket.gethostname(), self.residents, mender, metrics, self._judge)
        self._reverter = Reverter(self._store, self._chain, self.residents, metrics)
        self._stop, self._check_now = threading.Event(), threading.Event()
        self._report: Report = lambda _: None
        self._target: Head | None = None
        self._behind_since: float | None = None
        self._told: tuple[str, str] | None = None
        self._threads: list[threading.Thread] = []

    def load(self, revision: Revision, report: Report, stop: threading.Event) -> ChainSnapshot:
        """Load the head, or the version of ``revision.json`` if there is no head or it cannot be had.

        Raises:
            LoadFailure: neither can be served.
            Stopped: ``stop`` was set.
        """
        self._report, self._stop = report, stop
        self._target = self._first_head()
        first, anchor = self._loaded(revision)
        self.residents.begin(first, anchor)
        self._report = lambda _: None
        return first

    def start(self) -> None:
        """Follow and check from now on."""
        self.residents.publish()
        self._state.consistency = self.checker.record
        faults = self._settings.faults
        if faults and faults.flip_bit_after is not None:
            flip_later(self.residents, faults.flip_bit_after)
        for name, work in (("following", self._follow), ("checking", self._check)):
            thread = threading.Thread(target=work, name=name, daemon=True)
            thread.start()
            self._threads.append(thread)

    def close(self) -> None:
        """End the threads; blocks for a moment."""
        self._stop.set()
        self._check_now.set()
        for thread in self._threads:
            thread.join(_STOP_SECONDS)
        self._store.close()

    @property
    def lag_seconds(self) -> float:
        """Time since the head is known not to answer, or the store did not; 0 while the head answers."""
        since = self._behind_since
        return 0.0 if since is None else time.monotonic() - since

    def revert(self, to: str, reason: str) -> bool:
        """See `Reverter.revert`; what answers then is checked at once."""
        try:
            return self._reverter.revert(to, reason)
        finally:
            self._check_now.set()

    def _first_head(self) -> Head | None:
        try:
            return self._follower.poll()
        except (StoreError, HeadError) as problem:
            log.warning("the head cannot be read", extra={"error": str(problem)})
            return None

    def _loaded(self, revision: Revision) -> tuple[ChainSnapshot, ChainSnapshot]:
        """Return what answers first, and its anchor."""
        if self._target is not None:
            try:
                return self._reacher.first(self._target)
            except (StoreError, LoadFailure) as problem:
                log.warning("the anchor of the head cannot be loaded", extra={"error": str(problem)})
        snapshot = self._load_revision(revision)
        return snapshot, snapshot

    def _load_anchor(self, anchor: Anchor) -> ChainSnapshot:
        revision = Revision(self._model, anchor.version, anchor.digest, None, None, chain_name=self._chain)
        return self._load_revision(revision)

    def _load_revision(self, revision: Revision) -> ChainSnapshot:
        return ChainSnapshot.of_bundle(load(revision, self._settings, self._report, self._stop))

    def _follow(self) -> None:
        while not self._stop.is_set():
            try:
                self._target = self._follower.poll(_POLL_SECONDS) or self._target
                if self._target is not None:
                    self._advance(self._target)
            except (StoreError, LoadFailure) as problem:
                self._behind("the store cannot be read", "Unavailable", problem)
                self._stop.wait(_RETRY_SECONDS)
            except HeadError as problem:
                self._refuse("Head", problem)
            except BrokenLink as problem:
                self._refuse(str(problem.fault), problem)
            except Refused as problem:
                self._refuse(problem.reason, problem)
            except Exception:
                log.exception("following failed")
                self._stop.wait(_RETRY_SECONDS)

    def _advance(self, head: Head) -> None:
        current = self.residents.current
        if self._reverter.holds_back(head):
            return
        if (current.sequence, current.token, current.position.chain) != (head.sequence, head.token, head.chain):
            began = time.monotonic()
            self._behind_since = self._behind_since or began
            self._reacher.reach(head)
            self._metrics.swap_seconds.observe(time.monotonic() - began)
            live = {"sequence": str(self.residents.current.sequence), "seconds": time.time() - head.published_at}
            log.debug("swapped", extra=live)
            self._links.keep(head.chain)
        self._behind_since = self._told = None

    def _refuse(self, reason: str, problem: Exception) -> None:
        if self._behind("what the head names was refused", reason, problem):
            self._metrics.refused.labels(reason).inc()

    def _behind(self, what: str, reason: str, problem: Exception) -> bool:
        """Lag from now on; the cause is told once, not at every try."""
        self._behind_since = self._behind_since or time.monotonic()
        told, self._told = self._told, (reason, str(problem))
        if told != self._told:
            log.error(what, extra={"reason": reason, "error": str(problem)})
        return told != self._told

    def _check(self) -> None:
        while not self._stop.is_set():
            self._check_now.wait(self._settings.check_seconds)
            self._check_now.clear()
            try:
                self.checker.check(_beside_requests(self._stop))
            except Exception:
                log.exception("the check of memory failed")

    def _judge(self, failure: LoadFailure | None) -> None:
        """Be ready or not; the termination log says why, should the process end now."""
        if failure is None and self._state.failure is None:
            return
        self._state.fail(failure)
        try:
            if failure is None:
                clear_termination_log(self._settings.termination_log)
            else:
                write_termination_log(self._settings.termination_log, failure)
        except OSError as problem:
            log.warning("the termination log cannot be written", extra={"error": str(problem)})


def _beside_requests(stop: threading.Event) -> Pace:
    """Rest after each slice for as long as it took."""
    last = time.monotonic()

    def pace() -> None:
        nonlocal last
        stop.wait(time.monotonic() - last)
        last = time.monotonic()

    return pace
