"""The simulated world with a store: an online trainer that writes chains, and pods that follow them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from simulation import UID, SimDeployment, SimPod, World, spec

from viridian_operator.api.spec import ModelUpdateSpec
from viridian_operator.api.status import Window
from viridian_operator.api.version import ModelRef
from viridian_operator.decide import decision as act
from viridian_operator.decide.observation import (
    DeploymentView,
    Observation,
    OnlineReport,
    OnlineTrainerView,
    PodView,
    RegisteredVersion,
)
from viridian_operator.decide.tags import VERDICT


def online(**changes: Any) -> ModelUpdateSpec:
    """A recommender that is trained on every event at once."""
    fields: dict[str, Any] = {
        "strategy": "Online",
        "trigger": {},
        "online": {"store": {"url": "redis://redis:6379/1"}},
        "gate": {"minEvents": 100},
    }
    return spec(**(fields | changes))


@dataclass
class Chain:
    """A head: where its anchor is from, and how many deltas came after it."""

    anchor: ModelRef
    epoch: int = 1
    n: int = 0
    reason: str = ""

    @property
    def sequence(self) -> str:
        return f"{self.epoch}.{self.n}"

    def begin(self, anchor: ModelRef, reason: str = "") -> None:
        self.anchor, self.epoch, self.n, self.reason = anchor, self.epoch + 1, 0, reason


@dataclass
class SimTrainer:
    """An online trainer, as far as others notice it."""

    chain: str
    champion: ModelRef
    #: what the operator named when it started
    parent: ModelRef
    pending: ModelRef | None = None
    shadow: bool = False
    reverts: int = 0
    #: events after this moment are not trained on
    stuck_at: datetime | None = None
    #: it does nothing, and says nothing
    down: bool = False


@dataclass
class OnlineWorld(World):
    """A world with a store."""

    spec: ModelUpdateSpec = field(default_factory=online)
    chains: dict[str, Chain] = field(default_factory=dict)
    trainer: SimTrainer | None = None
    #: whether pods that are told to go back can write that into the store
    store_up: bool = True
    told_to_revert: list[str] = field(default_factory=list)
    #: digests that were champions of the trainers of a chain, as its checkpoints remember
    trained: dict[str, set[str]] = field(default_factory=dict)
    #: pods that found a damage of their memory, and what it was
    repaired: dict[str, str] = field(default_factory=dict)
    #: pods that went back by themselves, and from which epoch
    strays: dict[str, Chain] = field(default_factory=dict)

    @property
    def head(self) -> Chain:
        """Of the chain that what serves follows."""
        assert self.status.active is not None
        return self.chains[self.status.active.chain]

    def observe(self) -> Observation:
        return replace(super().observe(), online=self._trainer())

    def _trainer(self) -> OnlineTrainerView | None:
        if self.trainer is None:
            return None
        return OnlineTrainerView(self.trainer.chain, report=self._report())

    def _report(self) -> OnlineReport | None:
        trainer = self.trainer
        if trainer is None or trainer.down or trainer.chain not in self.chains:
            return None
        head = self.chains[trainer.chain]
        state = "Shadow" if trainer.shadow else "Publishing"
        return OnlineReport(
            state,
            trainer.chain,
            head.sequence,
            "r",
            (trainer.stuck_at or self.now).timestamp(),
            lag_seconds=(self.now - (trainer.stuck_at or self.now)).total_seconds(),
            reverts=trainer.reverts,
            pending=trainer.pending,
        )

    def _deployment(self, d: SimDeployment) -> DeploymentView:
        return replace(super()._deployment(d), chain=d.revision.chain)

    def _pod(self, name: str, p: SimPod) -> PodView:
        seen, deployment = super()._pod(name, p), self.deployments.get(p.revision)
        chain = deployment.revision.chain if deployment else ""
        head = self.strays.get(name) or self.chains.get(chain)
        if not chain or seen.identity is None:
            return seen
        if head is None:
            return replace(seen, golden=None)
        followed = replace(
            seen.identity, version=head.anchor.version, digest=head.anchor.digest, sequence=head.sequence, root="r"
        )
        if name in self.repaired:
            followed = replace(followed, repaired=1, damage=self.repaired[name])
        return replace(seen, identity=followed, golden=None)

    def _asked(self) -> str:
        asked, told = super()._asked(), self.status.online
        running = self.status.update is not None and self.status.update.running
        if running or self.status.owed_tags or self.status.recovering or self.spec.pin or not (told and told.pending):
            return asked
        return f"version:{told.pending.version}"

    def tick(self, seconds: float) -> None:
        super().tick(seconds)
        if self.trainer is not None and not self.trainer.down:
            self._train_online(self.trainer)
        for name, stray in list(self.strays.items()):
            chain = self.deployments[self.pods[name].revision].revision.chain if name in self.pods else ""
            if self.store_up and name in self.pods:
                self._record_revert(self.chains[chain], stray.reason)
            if self.store_up or name not in self.pods:
                del self.strays[name]

    def _train_online(self, trainer: SimTrainer) -> None:
        head = self.chains.setdefault(trainer.chain, Chain(trainer.champion))
        if head.reason and not trainer.shadow:
            trainer.shadow, trainer.reverts, trainer.pending = True, trainer.reverts + 1, None
        verdict = self.versions[trainer.pending.version].tags.get(VERDICT) if trainer.pending else None
        if trainer.pending and verdict == "Pass":
            trainer.champion, trainer.shadow = trainer.pending, False
            self.trained[trainer.chain].add(trainer.pending.digest)
            head.begin(trainer.pending)
        elif verdict == "Reject" and not trainer.shadow:
            trainer.shadow, trainer.reverts = True, trainer.reverts + 1
            head.begin(trainer.champion, "rejected")
        if verdict:
            trainer.pending = None
        if not trainer.shadow:
            head.n += 1

    def anchor(self, **changes: Any) -> str:
        """The trainer registers what it has trained so far."""
        assert self.trainer is not None
        number, head = str(1 + max(map(int, self.versions))), self.chains[self.trainer.chain]
        champion = self.versions[self.trainer.champion.version]
        ends = dict(self.heads().offsets)
        fields: dict[str, Any] = {
            "version": number,
            "digest": f"sha256:{number}",
            "update": f"{UID}/online/{head.epoch}.{head.n}",
            "parent": champion.digest,
            "window": Window(start=champion.trained_to, end=ends),
            "trained_to": ends,
            "kind": "Anchor",
            "golden": "{}",
            "graph": "g1",
        }
        self.versions[number] = found = RegisteredVersion(**(fields | changes))
        self.trainer.pending = found.model
        return number

    def judge(self, version: str, verdict: str = "Pass") -> None:
        """Enough events come in, and the gate finds so."""
        self.verdicts[version] = verdict
        self.passes(2)
        self.events += 200
        self.passes(15)

    def passes(self, count: int = 5) -> None:
        for _ in range(count):
            self.step()
            self.tick(1)

    def apply(self, action: act.Action) -> None:
        super().apply(action)
        match action:
            case act.EnsureOnlineTrainer(chain=chain, parent=parent):
                if self.trainer is None or (self.trainer.chain, self.trainer.parent) != (chain, parent):
                    self._start_trainer(chain, parent)
            case act.DeleteOnlineTrainer():
                self.trainer = None
            case act.RevertPods():
                self._revert(action)
            case act.StageVersion() | act.FlipPods():
                for name in action.pods:
                    chain = self.deployments[self.pods[name].revision].revision.chain
                    assert not chain, "told a pod that follows a chain"
            case _:
                pass

    def _start_trainer(self, chain: str, parent: ModelRef) -> None:
        """It goes on from the anchor of the head, unless its parent is news that was trained further."""
        head, known = self.chains.get(chain), self.trained.setdefault(chain, set())
        champion = parent if head is None or parent.digest not in known else head.anchor
        self.trainer = SimTrainer(chain, champion, parent)
        known |= {parent.digest, champion.digest}
        if head is not None and head.anchor != champion:
            head.begin(champion)

    def _revert(self, action: act.RevertPods) -> None:
        self.told_to_revert += action.pods
        for name in action.pods:
            chain = self.deployments[self.pods[name].revision].revision.chain
            if self.store_up:
                self._record_revert(self.chains[chain], action.reason)
                return
            head = self.chains[chain]
            self.strays[name] = Chain(head.anchor, head.epoch, 0, action.reason)

    @staticmethod
    def _record_revert(head: Chain, reason: str) -> None:
        if head.n:
            head.begin(head.anchor, reason)
