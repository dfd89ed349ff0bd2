"""Snapshots of a chain: one per sequence, each made from the one before."""

from __future__ import annotations

import json
from collections.abc import Sequence as Many
from dataclasses import dataclass, fields, replace

from viridian_model.chain.delta import Delta
from viridian_model.errors import BadDelta
from viridian_model.inference import Golden, check_golden
from viridian_model.publication.follower import Position
from viridian_model.publication.head import Head, Sequence
from viridian_server.online.weights import Weights
from viridian_server.snapshot import Snapshot


@dataclass(frozen=True, eq=False, kw_only=True)
class ChainSnapshot(Snapshot):
    """One sequence of a chain; there is neither sequence nor token before a head is known."""

    position: Position
    weights: Weights

    @property
    def root(self) -> str:
        """Merkle root of what answers, as it was published."""
        return self.position.root

    @classmethod
    def of_bundle(cls, snapshot: Snapshot) -> ChainSnapshot:
        """Make the beginning of a chain from a loaded anchor."""
        weights = Weights.of(snapshot.model)
        loaded = {field.name: getattr(snapshot, field.name) for field in fields(Snapshot)}
        return cls(
            **loaded | {"model": weights.put_into(snapshot.model)},
            position=Position(snapshot.digest, (), weights.roots.root),
            weights=weights,
        )

    def after(self, deltas: Many[Delta], head: Head) -> ChainSnapshot:
        """Return the snapshot after ``deltas``, which lead towards ``head`` and are verified; golden requests answered.

        Raises:
            BadDelta: one is not of this model, or the Merkle root of the result is another one.
            WarmupFailed: the last one names golden requests that are answered in another way.
        """
        if foreign := [delta for delta in deltas if delta.manifest.model != self.name]:
            raise BadDelta(f"{foreign[0].digest} is of model {foreign[0].manifest.model!r}, not of {self.name!r}")
        last = deltas[-1]
        weights = self.weights.after([delta.change for delta in deltas], last.manifest.root)
        model = weights.put_into(self.model)
        if last.golden is not None:
            check_golden(model, Golden.from_json(json.loads(last.golden)))
        chain = (*self.position.chain, *(delta.digest for delta in deltas))
        after = replace(self, weights=weights, model=model, position=replace(self.position, chain=chain))
        return after.at(head, replace(after.position, root=last.manifest.root), last.manifest.event_time)

    def at(self, head: Head, position: Position, event_time: float | None) -> ChainSnapshot:
        """Return the same weights as a state of the chain of ``head``, of which ``position`` is a beginning."""
        missing = len(head.chain) - len(position.chain)
        n = head.n - missing if position.chain else 0
        return replace(
            self,
            version=head.anchor.version,
            digest=head.anchor.digest,
            event_time=self.event_time if event_time is None else event_time,
            sequence=Sequence(head.epoch, n),
            token=head.token,
            position=position,
        )

    def at_anchor(self, head: Head) -> ChainSnapshot:
        """Return the same weights as the anchor of ``head``."""
        return self.at(head, self.position, None)

    def with_weights(self, weights: Weights) -> ChainSnapshot:
        """Return the same sequence with repaired memory."""
        return replace(self, weights=weights, model=weights.put_into(self.model))
