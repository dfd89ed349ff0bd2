"""Whole hot swaps against the simulated world: one Deployment, two versions, no restart."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from simulation import World, spec, swapping
from stories import ended, more_events

from viridian_operator.api.spec import ModelUpdateSpec
from viridian_operator.api.status import Kind, ModelUpdateStatus, Phase
from viridian_operator.decide import decision as act
from viridian_operator.decide.observation import PodTrouble

QUICK: dict[str, Any] = {"bake": {"duration": "30s", "interval": "10s", "failureLimit": 1}}


@pytest.fixture
def first() -> World:
    """A world whose first model serves in pods that take versions."""
    world = World(spec=swapping())
    world.settle()
    assert world.status.update and world.status.update.phase is Phase.SUCCEEDED
    return world


def reach(world: World, phase: Phase) -> None:
    more_events(world)
    world.run(lambda w: w.status.phase is phase, seconds=0.5)


def served(world: World) -> set[str]:
    """Versions that callers meet."""
    return world.serving_versions


def record(world: World) -> str:
    """The version that a pod serves which starts now."""
    assert world.status.active
    return world.records[world.status.active.hash].version


def test_weights_are_swapped_in_the_pods_that_serve(first: World) -> None:
    pods, deployments = set(first.pods), set(first.deployments)
    for version in ("2", "3"):
        more_events(first)
        first.settle()
        ended(first, Phase.SUCCEEDED, "Promoted")
        assert served(first) == {version} == {record(first)}
    assert (set(first.pods), set(first.deployments)) == (pods, deployments)
    assert len(first.switches) == 1
    assert first.aliases == {"champion": "3", "previous": "2", "candidate": "3"}
    assert first.status.previous and first.status.previous.version == "2"
    assert first.status.update and first.status.update.hot_swap and first.status.update.kind is Kind.INCREMENTAL
    assert all(pod.previous == ("2", "sha256:2") and pod.staged is None for pod in first.pods.values())


def test_one_pod_loads_the_candidate_before_the_others_do(first: World) -> None:
    reach(first, Phase.PREPARING)
    first.run(lambda w: any(pod.staged for pod in w.pods.values()), seconds=0.5)
    assert sum(pod.staged is not None for pod in first.pods.values()) == 1
    assert served(first) == {"1"} == {record(first)}
    first.run(lambda w: all(pod.staged for pod in w.pods.values()))
    assert first.status.phase is Phase.PREPARING


def test_the_next_pod_does_not_load_what_the_first_one_may_have_died_of(first: World) -> None:
    reach(first, Phase.PREPARING)
    first.run(lambda w: any(pod.staged for pod in w.pods.values()), seconds=0.5)
    victim = next(pod for pod in first.pods.values() if pod.staged)
    victim.staged, victim.lost = None, True  # and nobody has said yet of what
    for _ in range(3):
        first.step()
        first.tick(1)
    assert first.status.phase is Phase.PREPARING
    assert not any(pod.staged for pod in first.pods.values())


def test_intent_then_record_then_flips(first: World) -> None:
    reach(first, Phase.SCALING)
    first.log.clear()
    first.run(lambda w: w.status.phase is Phase.BAKING, seconds=0.2)
    update = first.status.update
    assert update and [each.phase for each in update.phases][-4:] == ["Preparing", "Verifying", "Scaling", "Switching"]
    told = [type(each) for each in first.log]
    named = [isinstance(each, act.EnsureRevision) and each.revision.version == "2" for each in first.log]
    assert named.index(True) < told.index(act.FlipPods)
    assert told.count(act.FlipPods) == 1


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"graphs": {"2": "g2"}}, "graph or schema have changed"),
        ({"graphs": {"2": ""}}, "does not say which graph"),
        ({"knows_swaps": False}, "the serving image knows no hot swaps"),
    ],
)
def test_what_cannot_be_swapped_gets_pods_of_its_own(first: World, change: dict[str, Any], why: str) -> None:
    for name, value in change.items():
        setattr(first, name, value)
    more_events(first)
    first.settle()
    ended(first, Phase.SUCCEEDED, "Promoted")
    assert first.status.update and not first.status.update.hot_swap
    assert why in first.status.update.room
    assert served(first) == {"2"}
    assert len(first.switches) == 2


def test_pods_that_were_made_for_one_version_are_replaced_once() -> None:
    world = World(spec=spec(rollout=QUICK | {"capacity": "Surge"}))
    world.settle()
    world.spec = swapping()
    for version, swapped in (("2", False), ("3", True)):
        more_events(world)
        world.settle()
        assert served(world) == {version}
        assert world.status.update and world.status.update.hot_swap is swapped


def test_a_changed_template_is_always_blue_green(first: World) -> None:
    more_events(first)
    first.settle()
    template = {"spec": {"containers": [{"name": "server", "image": "server:2"}]}}
    first.spec = first.spec.but(serving=first.spec.serving.but(template=template))
    first.run(lambda w: w.status.update is not None and w.status.update.number == 3)
    first.settle()
    ended(first, Phase.SUCCEEDED, "Promoted")
    assert first.status.update and first.status.update.kind is Kind.REDEPLOY and not first.status.update.hot_swap
    assert served(first) == {"2"} == {record(first)}
    more_events(first)
    first.settle()
    assert first.status.update.hot_swap and served(first) == {"3"}


def test_a_failed_redeploy_is_not_tried_again(first: World) -> None:
    first.unhealthy.add("1")
    template = {"spec": {"containers": [{"name": "server", "image": "server:bad"}]}}
    first.spec = first.spec.but(serving=first.spec.serving.but(template=template))
    first.run(lambda w: w.status.update is not None and w.status.update.number == 2)
    first.settle()
    ended(first, Phase.ROLLED_BACK, "HealthCheckFailed")
    for _ in range(5):
        first.step()
        first.tick(60)
    assert first.status.update and first.status.update.number == 2


@pytest.mark.parametrize(
    ("trouble", "reason", "quarantined"),
    [
        (PodTrouble.DIGEST_MISMATCH, "DigestMismatch", True),
        (PodTrouble.WARMUP_FAILED, "WarmupFailed", True),
        (PodTrouble.VERSION_MISSING, "VersionMissing", False),
        (PodTrouble.OUT_OF_MEMORY, "OutOfMemory", True),
        (PodTrouble.REGISTRY_UNREACHABLE, "RegistryUnreachable", False),
    ],
)
def test_a_candidate_that_does_not_load_costs_at_most_one_pod(
    first: World, trouble: PodTrouble, reason: str, quarantined: bool
) -> None:
    first.stillborn["2"] = trouble
    more_events(first)
    first.run(lambda w: not w.status.update.running, seconds=20)  # type: ignore[union-attr]
    ended(first, Phase.FAILED, reason)
    assert bool(first.status.quarantine) is quarantined
    assert sum(pod.broken is not None for pod in first.pods.values()) == (trouble is PodTrouble.OUT_OF_MEMORY)
    assert served(first) == {"1"} == {record(first)}
    first.step()
    first.step()
    assert not any(pod.staged for pod in first.pods.values())


def test_the_registry_down_in_preparing_is_waited_for(first: World) -> None:
    more_events(first)
    first.run(lambda w: w.status.phase is Phase.EVALUATING)
    first.registry_up = False
    first.run(lambda w: w.status.phase is Phase.PREPARING)
    for _ in range(5):
        first.step()
        first.tick(5)
    assert not any(pod.staged for pod in first.pods.values())
    first.registry_up = True
    first.settle()
    assert served(first) == {"2"}


def test_a_pod_that_comes_between_stage_and_flip_is_waited_for(first: World) -> None:
    reach(first, Phase.SCALING)
    first.spec = first.spec.but(serving=first.spec.serving.but(replicas=5))
    first.step()
    first.tick(0.5)
    while first.status.phase is Phase.SCALING:
        assert served(first) == {"1"}
        first.step()
        first.tick(0.5)
    first.settle()
    ended(first, Phase.SUCCEEDED, "Promoted")
    assert len(first.pods_of("2")) == 5


def test_a_pod_lost_right_before_the_switch_is_waited_for(first: World) -> None:
    reach(first, Phase.SCALING)
    made = first.step(crash_after=0)
    assert made.status.phase is Phase.SWITCHING
    del first.pods[next(iter(first.pods))]
    first.tick(0.1)
    first.step()
    assert first.status.phase is Phase.SCALING
    assert record(first) == "1"
    first.settle()
    ended(first, Phase.SUCCEEDED, "Promoted")
    assert served(first) == {"2"}


def test_failed_health_checks_flip_back_and_need_no_registry(first: World) -> None:
    first.unhealthy.add("2")
    reach(first, Phase.BAKING)
    first.registry_up = False
    first.run(lambda w: w.status.phase is Phase.ROLLING_BACK)
    first.settle()
    ended(first, Phase.ROLLED_BACK, "HealthCheckFailed")
    assert served(first) == {"1"} == {record(first)}
    assert [entry.digest for entry in first.status.quarantine] == ["sha256:2"]
    assert first.status.champion and first.status.champion.version == "1"
    first.unhealthy.clear()
    first.registry_up = True
    first.run(lambda w: w.status.backoff.until is None or w.now > w.status.backoff.until, seconds=30)
    more_events(first)
    first.settle()
    assert served(first) == {"3"}


def test_a_pod_that_crashes_after_the_switch_comes_back_with_the_old_version(first: World) -> None:
    reach(first, Phase.BAKING)
    name, pod = next(iter(first.pods.items()))
    pod.broken, pod.restarts = PodTrouble.CRASH_LOOP, 1
    first.step()
    assert first.status.phase is Phase.ROLLING_BACK
    assert record(first) == "1"
    del first.pods[name]
    first.settle()
    ended(first, Phase.ROLLED_BACK, "CrashLoop")
    assert served(first) == {"1"} and len(first.pods_of("1")) == 3


def test_a_pod_without_the_old_version_in_memory_loads_it_again(first: World) -> None:
    reach(first, Phase.BAKING)
    name = next(iter(first.pods))
    del first.pods[name]  # it comes back with the new version, and without the old one
    first.tick(1)
    first.tick(4)
    first.unhealthy.add("2")
    first.settle()
    ended(first, Phase.ROLLED_BACK, "HealthCheckFailed")
    assert served(first) == {"1"}


@pytest.mark.parametrize("honest", [False, True])
def test_pods_that_serve_another_digest_after_the_flip_go_back_at_once(first: World, honest: bool) -> None:
    first.liars["2"] = honest
    more_events(first)
    first.settle()
    ended(first, Phase.ROLLED_BACK, "IdentityMismatch")
    assert served(first) == {"1"}
    assert first.status.quarantine


def test_a_pod_that_does_not_flip_ends_in_all_going_back_at_the_deadline(
    first: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    reach(first, Phase.SCALING)
    deaf, flip = next(iter(first.pods)), World._flip

    def all_but_one(world: World, action: act.FlipPods) -> None:
        if world.status.phase is Phase.SWITCHING:
            action = act.FlipPods(action.revision, tuple(pod for pod in action.pods if pod != deaf))
        flip(world, action)

    monkeypatch.setattr(World, "_flip", all_but_one)
    first.run(lambda w: len(w.serving_versions) == 2, seconds=0.5)
    first.run(lambda w: not w.status.update.running)  # type: ignore[union-attr]
    ended(first, Phase.ROLLED_BACK, "SwitchFailed")
    assert served(first) == {"1"} == {record(first)}
    assert not first.status.quarantine


@pytest.mark.parametrize("phase", [Phase.PREPARING, Phase.VERIFYING, Phase.SCALING, Phase.SWITCHING, Phase.BAKING])
def test_abort_in_any_phase_leaves_the_old_version(first: World, phase: Phase) -> None:
    reach(first, phase)
    first.request("abort/2/x")
    first.settle()
    ended(first, Phase.ABORTED, "Aborted")
    assert served(first) == {"1"} == {record(first)}
    assert not any(pod.staged for pod in first.pods.values())


def test_approval_is_asked_for_when_every_pod_is_ready_to_swap() -> None:
    world = World(spec=swapping(approval={"mode": "Manual"}))
    world.run(lambda w: w.status.phase is Phase.AWAITING_APPROVAL)
    world.request("approve/1/x")
    world.settle()
    reach(world, Phase.AWAITING_APPROVAL)
    del world.pods[next(iter(world.pods))]
    for _ in range(20):
        world.step()
        world.tick(1)
    assert all(world._holds(pod, "sha256:2") for pod in world.pods.values())
    world.request("approve/2/x")
    world.settle()
    ended(world, Phase.SUCCEEDED, "Promoted")
    assert served(world) == {"2"}


def test_a_rollback_by_request_flips_to_what_is_in_memory(first: World) -> None:
    more_events(first)
    first.settle()
    pods = set(first.pods)
    first.registry_up = False
    first.request("rollback/x")
    first.settle()
    ended(first, Phase.SUCCEEDED, "Promoted")
    assert served(first) == {"1"} == {record(first)}
    assert set(first.pods) == pods
    assert first.status.champion and first.status.champion.version == "1"


def test_a_pin_is_swapped_in_like_any_version(first: World) -> None:
    more_events(first)
    first.settle()
    first.spec = ModelUpdateSpec.model_validate(first.spec.wire() | {"pin": {"version": 1, "reason": "regression"}})
    first.run(lambda w: w.status.update is not None and w.status.update.number == 3)
    first.settle()
    ended(first, Phase.SUCCEEDED, "Promoted")
    assert first.status.update and first.status.update.hot_swap
    assert served(first) == {"1"} == {record(first)}


def test_a_restarted_pod_that_read_an_old_record_is_corrected_between_updates(first: World) -> None:
    more_events(first)
    first.settle()
    pod = next(iter(first.pods.values()))
    pod.version, pod.digest, pod.previous = "1", "sha256:1", None
    first.step()
    ready = next(each for each in first.status.conditions if each.type == "Ready")
    assert (ready.status, ready.reason) == ("False", "IdentityMismatch")
    for _ in range(4):
        first.step()
        first.tick(2)
    assert served(first) == {"2"}
    first.step()
    assert next(each for each in first.status.conditions if each.type == "Ready").status == "True"


def test_an_edited_or_deleted_record_is_restored(first: World) -> None:
    assert first.status.active
    name = first.status.active.hash
    first.records[name].version, first.records[name].digest = "9", "sha256:9"
    first.step()
    assert record(first) == "1"
    assert [note.reason for note in first.notes].count("RecordRestored") == 1
    del first.records[name]
    first.step()
    assert record(first) == "1"


@pytest.mark.parametrize("phase", [Phase.IDLE, Phase.PREPARING, Phase.SWITCHING, Phase.BAKING])
def test_a_lost_status_is_rebuilt_around_what_the_record_says(first: World, phase: Phase) -> None:
    more_events(first)
    first.settle()
    if phase is not Phase.IDLE:
        reach(first, phase)
    wanted = record(first)
    first.status = ModelUpdateStatus()
    for _ in range(10):
        first.step()
        first.tick(1)
    assert first.status.active and first.status.active.version == wanted
    assert first.status.active.graph == "g1"
    assert served(first) == {wanted} == {record(first)}


def test_a_status_from_before_a_swap_is_not_believed(first: World) -> None:
    backup = first.status
    more_events(first)
    first.settle()
    first.status = backup
    for _ in range(5):
        first.step()
        assert served(first) == {"2"}
        first.tick(1)
    assert first.status.active and first.status.active.version == "2"
    assert first.status.champion and first.status.champion.version == "2"


def no_room(world: World, trouble: PodTrouble = PodTrouble.UNSCHEDULABLE) -> None:
    world.stillborn["2"] = trouble


@pytest.mark.parametrize("trouble", [PodTrouble.UNSCHEDULABLE, PodTrouble.VOLUME_UNBOUND])
def test_auto_swaps_where_there_is_no_room_for_a_second_revision(trouble: PodTrouble) -> None:
    world = World(spec=spec(rollout=QUICK | {"capacity": "Auto", "deadlines": {"schedule": "1m"}}))
    world.settle()
    no_room(world, trouble)
    more_events(world)
    world.run(lambda w: bool(w.pods_of("2")))
    world.settle()
    ended(world, Phase.SUCCEEDED, "Promoted")
    update = world.status.update
    assert update and update.hot_swap and "no room" in update.room
    assert served(world) == {"2"}
    assert len(world.deployments) == 1
    waited = next(each.seconds for each in update.phases if each.phase is Phase.PREPARING)
    assert timedelta(seconds=waited) >= timedelta(minutes=1)


def test_auto_without_room_for_another_graph_fails_and_says_so() -> None:
    world = World(spec=spec(rollout=QUICK | {"capacity": "Auto", "deadlines": {"schedule": "1m"}}))
    world.settle()
    no_room(world)
    world.graphs["2"] = "g2"
    more_events(world)
    world.settle()
    ended(world, Phase.FAILED, "Unschedulable")
    assert world.status.update and "graph or schema have changed" in world.status.update.room
    assert served(world) == {"1"}


def test_a_check_that_compares_two_revisions_needs_two() -> None:
    checks = [{"name": "slow", "latency": {"path": "/x", "maxRatio": 1.2}}]
    world = World(spec=swapping(healthChecks=checks))
    world.settle()
    more_events(world)
    world.settle()
    assert world.status.update and "side by side" in world.status.update.room
    assert len(world.switches) == 2
