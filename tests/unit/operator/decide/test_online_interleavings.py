"""The same corners for strategy ``Online``: anchors, a trainer and a store that come and go."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule
from online_world import OnlineWorld, online
from test_interleavings import Interleavings

from viridian_operator.api.status import Kind, Phase

PIN = {"pin": {"version": 1, "reason": "for the test"}}


class OnlineInterleavings(Interleavings):
    """One ModelUpdate that is trained on every event at once."""

    world: OnlineWorld

    @initialize()
    def first_model(self) -> None:
        self.world = OnlineWorld()
        self.world.settle()
        self.world.passes()
        self.undisturbed = True
        self.nonce = 0

    def _may_make_an_anchor(self) -> bool:
        trainer = self.world.trainer
        ready = trainer is not None and not trainer.down and trainer.chain in self.world.chains
        return ready and trainer is not None and trainer.pending is None and self.world.registry_up

    @precondition(lambda self: self._may_make_an_anchor())
    @rule(verdict=st.sampled_from(["Pass", "Pass", "Reject", "Inconclusive"]))
    def an_anchor(self, verdict: str) -> None:
        self.world.events += 10
        self.world.verdicts[self.world.anchor()] = verdict
        self.world.events += 200

    @rule(down=st.booleans())
    def the_trainer_hangs(self, down: bool) -> None:
        if self.world.trainer is not None:
            self.world.trainer.down = down

    @precondition(lambda self: self.world.trainer is not None and self.world.trainer.chain in self.world.chains)
    @rule()
    def the_sequential_test_stops(self) -> None:
        head = self.world.chains[self.world.trainer.chain] if self.world.trainer else None
        if head is not None and head.n:
            head.begin(head.anchor, "worse")

    @rule(up=st.booleans())
    def the_store(self, up: bool) -> None:
        self.world.store_up = up

    @rule(changes=st.sampled_from([{}, {}, {"suspend": True}, PIN]))
    def the_spec_changes(self, changes: dict[str, object]) -> None:
        self.world.spec = online(**changes)

    @invariant()
    def what_is_written_is_followed(self) -> None:
        """The trainer writes the chain of what serves, or while that may have to give back of what served before."""
        status, trainer = self.world.status, self.world.trainer
        if trainer is None or status.online is None:
            return
        known = {each.chain for each in (status.active, status.previous) if each}
        assert status.online.chain in known

    @invariant()
    def champions_follow_on_each_other(self) -> None:
        """An anchor is champion only if it begins where the one before it ended."""
        update, champion = self.world.status.update, self.world.status.champion
        if update is None or update.kind is not Kind.ANCHOR or update.phase is not Phase.SUCCEEDED or not champion:
            return
        version = self.world.versions[champion.version]
        parent = next(v for v in self.world.versions.values() if v.digest == version.parent)
        if version.kind == "Anchor":
            assert version.window and version.window.start == parent.trained_to

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        world = self.world
        world.spec, world.store_up = online(), True
        super().teardown()
        self.the_trainer_hangs(down=False)
        world.tick(48 * 3600)
        world.events += 1000
        for _ in range(3):
            world.passes(20)
            world.run(lambda w: w.status.update is None or not w.status.update.running, seconds=30, limit=3000)
        active, told = world.status.active, world.status.online
        if world.status.champion is None or active is None:
            return
        stalled = any(each.type == "Stalled" for each in world.status.conditions)
        assert stalled or (told and world.trainer and world.trainer.chain == active.chain == told.chain)
        assert not told or told.revert is None
        if not stalled:
            assert self._anchors_pass(), "no anchor comes through any more"

    def _anchors_pass(self) -> bool:
        """At the latest the third one: the first may be of a branch that is left, the second begins anew."""
        for _ in range(3):
            self.world.judge(self.world.anchor())
            self.world.passes(10)
            champion, trainer = self.world.status.champion, self.world.trainer
            if champion and trainer and trainer.champion == champion.model == self.world.head.anchor:
                return True
        return False


OnlineInterleavings.TestCase.settings = Interleavings.TestCase.settings
TestOnlineInterleavings = OnlineInterleavings.TestCase
del Interleavings
