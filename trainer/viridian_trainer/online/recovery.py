"""Going on after a stop: from a checkpoint by making the same steps again, or from the champion."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from viridian_model.chain.roots import Roots
from viridian_model.chain.state import ModelState
from viridian_model.errors import BadDelta
from viridian_model.publication.follower import Follower
from viridian_model.publication.head import Head
from viridian_model.publication.links import BrokenLink
from viridian_model.served import state_of
from viridian_model.store import Store
from viridian_trainer.environment import VersionRef
from viridian_trainer.eventlog import Offset, count_before
from viridian_trainer.online.branch import Branch
from viridian_trainer.online.checkpoints import Standing
from viridian_trainer.online.journal import Batch, StepJournal
from viridian_trainer.online.reader import Reader

_log = logging.getLogger(__name__)


def continues(standing: Standing, head: Head | None, parent: VersionRef) -> bool:
    """Whether the branch of a checkpoint is still the one that readers follow, and descends from ``parent``."""
    pending = standing.pending.digest if standing.pending else None
    if parent.digest not in {*standing.known, standing.champion[1], pending}:
        return False
    if head is None or head.epoch == standing.epoch:
        return True
    if is_promoted(standing, head):
        return True
    return standing.shadow and bool(head.reason) and head.anchor.digest == standing.champion[1]


def is_promoted(standing: Standing, head: Head) -> bool:
    """Whether the anchor without verdict became the head right before the stop."""
    return standing.pending is not None and head.anchor.digest == standing.pending.digest and not head.reason


#: Gives what readers of a head have, for a branch that has trained exactly as far; nothing if it cannot be proven.
Proof = Callable[[Branch, Head], ModelState | None]


def replay(
    branch: Branch,
    reader: Reader,
    journal: StepJournal,
    head: Head | None,
    proof: Proof,
    anchor: Callable[[str], None],
) -> ModelState | None:
    """Make all steps of the journal again; gives what readers have, if the steps led there.

    Rows that may differ from that state are noted in ``branch.touched``.
    """

    def look() -> ModelState | None:
        if head is None or branch.learner.offsets != head.trained_to:
            return None
        return proof(branch, head)

    served = look()
    for step in journal.entries:
        if isinstance(step, Batch):
            branch.train(reader.again(step.to))
        else:
            anchor(step.anchor)
        served = served or look()
    _log.info("steps made again", extra={"steps": len(journal.entries), "proven": served is not None})
    return served


def same_bits(branch: Branch, head: Head) -> ModelState | None:
    """The present weights, if they are exactly what readers have."""
    state = state_of(branch.learner.model).copy()
    if Roots.of(state).root != head.root:
        return None
    branch.touched.drain()
    return state


def read_chain(store: Store, chain: str, head: Head, anchor: ModelState) -> ModelState | None:
    """What readers of ``head`` have: its ``anchor``, which is changed, after all of its deltas; nothing if a link
    is broken.

    Raises
    ------
    StoreUnavailable, StoreRefused
        If the store does not answer, or says no.
    """
    follower, root = Follower(store, chain), head.anchor.root
    try:
        for digest in head.chain:
            delta = follower.fetch(digest, root)
            anchor.apply(delta.change)
            root = delta.manifest.root
    except (BrokenLink, BadDelta) as error:
        _log.error("the chain cannot be read back: %s", error)
        return None
    return anchor if Roots.of(anchor).root == head.root else None


def has_reached(offsets: Mapping[str, Offset], wanted: Mapping[str, Offset]) -> bool:
    """Whether ``offsets`` are at or behind ``wanted`` in every partition."""
    return all(count_before(offsets.get(name, "0")) >= count_before(offset) for name, offset in wanted.items())


def total(offsets: Mapping[str, Offset]) -> int:
    """Entries before ``offsets``, in all partitions."""
    return sum(map(count_before, offsets.values()))
