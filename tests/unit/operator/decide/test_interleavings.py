"""Random interleavings of passes, time, crashes, stale writes, faults and people.

The simulated world checks the invariants at every effect; here it is driven into corners.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from simulation import SimPod, World

from viridian_operator.api.status import TERMINAL, ModelUpdateStatus, Phase
from viridian_operator.decide.observation import PodTrouble


class Interleavings(RuleBasedStateMachine):
    """One ModelUpdate, everything else against it."""

    @initialize()
    def first_model(self) -> None:
        self.world = World()
        self.world.settle()
        self.undisturbed = True
        self.nonce = 0

    @rule(seconds=st.sampled_from([0.2, 1.0, 3.0, 20.0]))
    def a_pass_and_time(self, seconds: float) -> None:
        self.world.step()
        self.world.tick(seconds)

    @rule()
    def passes(self) -> None:
        for _ in range(8):
            self.world.step()
            self.world.tick(1)

    @rule(after=st.integers(0, 4))
    def crash_between_effects(self, after: int) -> None:
        self.world.step(crash_after=after)
        self.world.tick(1)

    @rule()
    def crash_before_status_is_written(self) -> None:
        self.world.step(lose_status=True)

    @rule(count=st.sampled_from([500, 2000]))
    def events_arrive(self, count: int) -> None:
        self.world.events += count

    @rule(up=st.booleans())
    def registry(self, up: bool) -> None:
        self.world.registry_up = up

    @rule(verdict=st.sampled_from(["Pass", "Pass", "Reject", "Inconclusive"]))
    def next_verdict(self, verdict: str) -> None:
        self.world.verdicts[str(len(self.world.versions) + 1)] = verdict

    @rule(kind=st.sampled_from(["unhealthy", "liar", "half a liar", *PodTrouble]))
    def next_version_is_bad(self, kind: str) -> None:
        version = str(len(self.world.versions) + 1)
        if kind == "unhealthy":
            self.world.unhealthy.add(version)
        elif "liar" in kind:
            self.world.liars[version] = kind.startswith("half")
        else:
            self.world.stillborn[version] = PodTrouble(kind)

    @precondition(lambda self: self._candidates())
    @rule(data=st.data(), trouble=st.sampled_from([PodTrouble.CRASH_LOOP, PodTrouble.OUT_OF_MEMORY]))
    def a_candidate_pod_dies(self, data: st.DataObject, trouble: PodTrouble) -> None:
        pod = data.draw(st.sampled_from(self._candidates()))
        pod.broken, pod.restarts = trouble, pod.restarts + 1

    def _candidates(self) -> list[SimPod]:
        update = self.world.status.update
        green = update.green if update and update.running else None
        return [p for p in self.world.pods.values() if green and p.revision == green.hash]

    @rule()
    def jobs_are_deleted(self) -> None:
        self.world.jobs.clear()

    @rule()
    def a_child_is_deleted(self) -> None:
        self.world.services.pop("ctr-preview", None)

    @rule(verb=st.sampled_from(["run", "retrain", "retry", "abort", "promote", "approve", "reject", "rollback"]))
    def somebody_asks(self, verb: str) -> None:
        self.nonce += 1
        number = self.world.status.update.number if self.world.status.update else 0
        numbered = verb in ("abort", "promote", "approve", "reject")
        self.world.request(f"{verb}/{number}/{self.nonce}" if numbered else f"{verb}/{self.nonce}")

    @precondition(lambda self: not self._running())
    @rule()
    def status_is_lost(self) -> None:
        self.world.status = ModelUpdateStatus()
        self.world.annotations.clear()
        self.world.jobs_seen.clear()

    def _running(self) -> bool:
        update = self.world.status.update
        return update is not None and update.running

    @rule(hours=st.sampled_from([1, 48]))
    def the_operator_is_down(self, hours: int) -> None:
        for _ in range(3):
            self.world.tick(1)
        self.world.tick(hours * 3600)

    @invariant()
    def callers_are_served(self) -> None:
        """Only pods of the candidate die here, so callers never see nothing once blue is back in charge."""
        world = self.world
        if not world.services.get("ctr"):
            raise AssertionError("the active Service is gone")
        selected = world.services["ctr"]
        assert selected in world.deployments, "the active Service selects a revision that does not exist"

    @invariant()
    def the_watermark_is_the_champions(self) -> None:
        champion = self.world.status.champion
        if champion:
            assert champion.watermark == self.world.versions[champion.version].trained_to

    @invariant()
    def quarantined_versions_do_not_serve_for_good(self) -> None:
        status = self.world.status
        update = status.update
        settled = update is None or update.phase in TERMINAL
        if settled and status.active and status.quarantined(status.active.digest):
            assert update and update.phase is Phase.FAILED, "a quarantined digest is what serves"

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        self.world.registry_up = True
        for pod in self.world.pods.values():
            pod.lost = False
        self.world.run(lambda w: w.status.update is None or not w.status.update.running, seconds=30, limit=3000)


Interleavings.TestCase.settings = settings(
    max_examples=25,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestInterleavings = Interleavings.TestCase
