"""From what is in memory to a head: fetch what is missing, apply it, let it answer."""

from __future__ import annotations

import logging
from collections.abc import Callable
from itertools import batched

from viridian_model.chain.delta import Delta
from viridian_model.errors import BundleError
from viridian_model.publication.follower import Follower, Plan
from viridian_model.publication.head import Anchor, Head
from viridian_model.publication.links import BrokenLink
from viridian_server.metrics import Metrics
from viridian_server.online.chain import ChainSnapshot
from viridian_server.online.links import LinkIndex
from viridian_server.online.residents import ChainResidents
from viridian_server.online.weights import RootMismatch, Weights

log = logging.getLogger(__name__)

_TOGETHER = 16
"""Deltas that are applied as one where many are missing; bounds the payloads in memory."""


class Refused(Exception):
    """A delta cannot be used; ``reason`` is the label of the metric. What was reached before it answers."""

    def __init__(self, reason: str, digest: str, message: str) -> None:
        super().__init__(message)
        self.reason, self.digest, self.message = reason, digest, message


class Reacher:
    """Makes the states that a follower's heads name; belongs to the thread of the follower."""

    def __init__(
        self,
        follower: Follower,
        residents: ChainResidents,
        links: LinkIndex,
        metrics: Metrics,
        load_anchor: Callable[[Anchor], ChainSnapshot],
        mend: Callable[[ChainSnapshot], ChainSnapshot | None],
    ) -> None:
        """``load_anchor`` fetches and loads; ``mend`` gives a state with repaired memory, if it was damaged."""
        self._follower, self._residents, self._links, self._metrics = follower, residents, links, metrics
        self._load_anchor, self._mend = load_anchor, mend
        self._never: dict[str, Refused] = {}

    def first(self, head: Head) -> tuple[ChainSnapshot, ChainSnapshot]:
        """Load the anchor of ``head`` and apply what can be applied; return the state and that of the anchor."""
        anchor = self._load_anchor(head.anchor).at_anchor(head)
        state, problem = self._walk(anchor, Plan(head, None, head.chain))
        if problem:
            log.warning("the head cannot be reached", extra={"reason": problem.reason, "error": problem.message})
        return state, anchor

    def reach(self, head: Head) -> None:
        """Bring what answers to ``head``, or as far as possible.

        Raises:
            Refused: a link cannot be used; what could be reached answers.
            BrokenLink: a manifest that the plan needs is missing or corrupted.
            LoadFailure: the anchor cannot be loaded.
            StoreUnavailable, StoreRefused: nothing changed, or what was reached so far answers.
        """
        with self._residents.writing:
            plan = self._follower.plan(head, self._residents.positions())
            anchor = None
            if plan.start is None:
                start = anchor = self._load_anchor(head.anchor).at_anchor(head)
            else:
                start = self._residents.at(plan.start)
            state, problem = self._walk(start, plan)
            if _is_progress(state, self._residents.current):
                self._residents.swap(state, beside=anchor)
            if problem:
                raise problem

    def rebuild(self, state: ChainSnapshot) -> Weights:
        """Make the weights of ``state`` anew from the store.

        Raises:
            Refused: a link of it cannot be used any more.
            LoadFailure: the anchor cannot be loaded.
        """
        anchor = Anchor(version=state.version, digest=state.position.anchor, root=state.manifest.merkle_root)
        weights = self._load_anchor(anchor).weights
        for digests in batched(state.position.chain, _TOGETHER):
            deltas, problem = self._fetched(digests, weights.roots.root)
            if problem:
                raise problem
            weights = weights.after([delta.change for delta in deltas], deltas[-1].manifest.root)
        return weights

    def _walk(self, state: ChainSnapshot, plan: Plan) -> tuple[ChainSnapshot, Refused | None]:
        """Apply the deltas of ``plan``; return the last state and why it is not the head, if it is not."""
        for digests in batched(plan.deltas, _TOGETHER):
            deltas, missing = self._fetched(digests, state.position.root)
            state, refused = self._applied(state, deltas, plan.head)
            if problem := refused or missing:
                return state, problem
        # Links may have been merged since, and the epoch may be another one.
        return state.at(plan.head, plan.position, plan.head.event_time), None

    def _fetched(self, digests: tuple[str, ...], root: str) -> tuple[list[Delta], Refused | None]:
        deltas: list[Delta] = []
        for digest in digests:
            if digest in self._never:
                return deltas, self._never[digest]
            try:
                delta = self._follower.fetch(digest, root)
            except BrokenLink as broken:
                return deltas, Refused(str(broken.fault), digest, str(broken))
            deltas.append(delta)
            root = delta.manifest.root
            self._metrics.delta_bytes.inc(len(delta.payload))
        return deltas, None

    def _applied(self, state: ChainSnapshot, deltas: list[Delta], head: Head) -> tuple[ChainSnapshot, Refused | None]:
        """Apply ``deltas`` as one; where that fails, one by one, so that the good ones count."""
        for together in (deltas,) if len(deltas) < 2 else (deltas, *([each] for each in deltas)):
            if not together:
                break
            try:
                state = self._after(state, together, head)
            except BundleError as error:
                if len(together) == 1:
                    refused = Refused(error.reason, together[0].digest, error.message)
                    self._never[refused.digest] = refused
                    return state, refused
            else:
                if together is deltas:
                    break
        return state, None

    def _after(self, state: ChainSnapshot, deltas: list[Delta], head: Head) -> ChainSnapshot:
        try:
            after = state.after(deltas, head)
        except RootMismatch:
            mended = self._mend(state)
            if mended is None:
                raise
            after = mended.after(deltas, head)
        for delta in deltas:
            self._links.learn(delta)
        self._metrics.deltas.inc(len(deltas))
        return after


def _is_progress(state: ChainSnapshot, current: ChainSnapshot) -> bool:
    if state.sequence is None or current.sequence is None or state.sequence == current.sequence:
        return (state.token, state.position) != (current.token, current.position)
    return state.sequence > current.sequence
