"""What can happen next: passes that end anywhere, time, the cluster, the registry and people."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from random import Random

from simulation import SimPod, World, following, spec, swapping

from viridian_operator.api.spec import ModelUpdateSpec
from viridian_operator.api.status import ModelUpdateStatus, Phase
from viridian_operator.decide import decision as act
from viridian_operator.decide import step
from viridian_operator.decide.observation import PodTrouble, Slot

Happening = Callable[[World, Random], None]


def a_pass(w: World, _: Random) -> None:
    blue = w.status.previous
    going_back = w.status.phase is Phase.ROLLING_BACK and blue is not None and w.observe().ready_of(blue.hash) > 0
    made = w.step()
    if going_back and made.status.phase is Phase.ROLLING_BACK and blue:
        assert w.services.get("ctr") == blue.hash, "a rollback waits although blue is ready"


def a_pass_and_a_second(w: World, rng: Random) -> None:
    a_pass(w, rng)
    w.tick(1)


def a_pass_twice(w: World, rng: Random) -> None:
    a_pass(w, rng)
    a_pass(w, rng)


def crash_between_effects(w: World, rng: Random) -> None:
    w.step(crash_after=rng.randrange(5))


def status_write_lost(w: World, _: Random) -> None:
    """Also what a conflict comes to: nothing is done."""
    w.step(lose_status=True)


def reply_of_status_write_lost(w: World, _: Random) -> None:
    w.step(crash_after=0)


def an_effect_fails(w: World, rng: Random) -> None:
    actions = w.step(crash_after=0).actions
    spared = rng.randrange(len(actions)) if actions else 0
    for index, action in enumerate(actions):
        if index != spared:
            w.apply(action)


def reply_of_an_effect_lost(w: World, rng: Random) -> None:
    actions = w.step().actions
    if actions:
        again = rng.choice(actions)
        if not isinstance(again, act.CreateJob):  # a create that is sent again is refused: the Job exists
            w.apply(again)


def stale_read(w: World, _: Random) -> None:
    """A pass decides on an old look; its write is refused, so that it only must not fail."""
    seen = w.observe()
    w.tick(1)
    step.decide(w.spec, w.status, seen, w.now)


def seconds_pass(w: World, rng: Random) -> None:
    w.tick(rng.choice((1, 3, 20)))


def deadline_passes(w: World, _: Random) -> None:
    if w.status.update and w.status.update.deadline and w.status.update.deadline > w.now:
        w.tick((w.status.update.deadline - w.now).total_seconds() + 1)
    else:
        w.tick(48 * 3600)


def clock_jumps_back(w: World, _: Random) -> None:
    w.now -= timedelta(hours=1)
    for pod in w.pods.values():
        pod.born = min(pod.born, w.now)  # what really passed has passed


def _pods(w: World, rng: Random) -> list[SimPod]:
    revision = rng.choice(sorted(w.deployments)) if w.deployments else ""
    return [p for p in w.pods.values() if p.revision == revision]


def a_pod_crashes(w: World, rng: Random) -> None:
    for pod in _pods(w, rng)[:1]:
        pod.broken, pod.restarts = PodTrouble.CRASH_LOOP, pod.restarts + 1


def a_revision_crashes(w: World, rng: Random) -> None:
    for pod in _pods(w, rng):
        pod.broken, pod.restarts = PodTrouble.CRASH_LOOP, pod.restarts + 1


def a_node_is_lost(w: World, rng: Random) -> None:
    for pod in list(w.pods.values())[rng.randrange(3) :: 3]:
        pod.lost = True


def all_nodes_are_lost(w: World, _: Random) -> None:
    for pod in w.pods.values():
        pod.lost = True


def pods_are_replaced(w: World, _: Random) -> None:
    w.pods = {name: pod for name, pod in w.pods.items() if not pod.lost and pod.broken is None}


def registry_flips(w: World, _: Random) -> None:
    w.registry_up = not w.registry_up


def next_verdict(w: World, rng: Random) -> None:
    w.verdicts[str(len(w.versions) + rng.randrange(2))] = rng.choice(("Pass", "Reject", "Inconclusive"))


def a_pod_comes_back(w: World, rng: Random) -> None:
    """Its container was restarted: it serves what the ConfigMap says, and has nothing else loaded."""
    for pod in _pods(w, rng)[:1]:
        told = w.records.get(pod.revision)
        pod.restarts, pod.ready, pod.born = pod.restarts + 1, False, w.now
        pod.previous = pod.staged = None
        if told:
            pod.version, pod.digest = told.version, told.digest


def the_image_is_another(w: World, _: Random) -> None:
    """One that knows hot swaps, or one that does not."""
    w.knows_swaps = not w.knows_swaps


def the_graph_changes(w: World, rng: Random) -> None:
    w.graphs[str(len(w.versions) + 1)] = rng.choice(("g1", "g2", ""))


def a_record_is_edited(w: World, rng: Random) -> None:
    """A pass comes before a pod starts: what one serves that was quicker is told it by the pass after."""
    if w.records:
        name = rng.choice(sorted(w.records))
        if rng.randrange(2):
            del w.records[name]
        else:
            w.records[name].version, w.records[name].digest = "0", "sha256:0"
    a_pass(w, rng)


def next_version_is_bad(w: World, rng: Random) -> None:
    version = str(len(w.versions) + 1)
    match rng.randrange(5):
        case 0:
            w.unhealthy.add(version)
        case 1:
            w.liars[version] = bool(rng.randrange(2))
        case 2:
            w.stillborn[version] = rng.choice((PodTrouble.DIGEST_MISMATCH, PodTrouble.REGISTRY_UNREACHABLE))
        case 3:
            w.stillborn[version] = PodTrouble.UNSCHEDULABLE
        case _:
            w.stillborn[version] = PodTrouble.CRASH_LOOP


def selector_is_edited(w: World, rng: Random) -> None:
    if "ctr" in w.services:
        w.services["ctr"] = rng.choice([*sorted(w.deployments), "foreign"])


def a_service_is_deleted(w: World, rng: Random) -> None:
    w.services.pop(rng.choice(("ctr", "ctr-preview")), None)


def a_deployment_is_deleted(w: World, rng: Random) -> None:
    lost = w.status.active is None and w.status.update is None
    if w.deployments and not lost:  # nothing is left then to rebuild status from
        gone = rng.choice(sorted(w.deployments))
        del w.deployments[gone]
        w.pods = {name: pod for name, pod in w.pods.items() if pod.revision != gone}


def jobs_are_deleted(w: World, _: Random) -> None:
    update = w.status.update
    if update and (update.phase is Phase.QUEUED or not update.message.startswith("judging")):
        # one that no pass has seen running is as good as never made: it may be made once more
        w.jobs_created = [name for name in w.jobs_created if name not in w.jobs or update.phase is Phase.TRAINING]
    w.jobs.clear()


def events_arrive(w: World, _: Random) -> None:
    w.events += 1500


def the_log_is_trimmed(w: World, rng: Random) -> None:
    w.trimmed = max(w.trimmed, rng.choice((w.events // 2, w.events - 100, w.events)))


_VERBS = ("run", "retrain", "retry", "rollback", "abort", "promote", "approve", "reject", "skip-window")


def somebody_asks(w: World, rng: Random) -> None:
    verb = rng.choice(_VERBS)
    numbered = verb in ("abort", "promote", "approve", "reject")
    number = f"/{w.status.update.number if w.status.update else 0}" if numbered else ""
    reason = "/bad data" if verb == "skip-window" else ""
    w.request(f"{verb}{number}{reason}/{w.now.timestamp()}")


def training_slots_run_out(w: World, _: Random) -> None:
    """Or one is free again; who has made a Job keeps the slot."""
    w.slot = Slot() if w.slot.limit else Slot(limit=1, ahead=1)


def a_version_is_published(w: World, _: Random) -> None:
    """By whoever trains elsewhere; the alias that strategy ``Registry`` follows names it."""
    if w.spec.follow and len(w.versions) < 30:
        w.publish()


def the_followed_alias_goes_back(w: World, rng: Random) -> None:
    if w.spec.follow and w.versions:
        w.aliases["challenger"] = rng.choice(sorted(w.versions))


def _changed(**serving: object) -> ModelUpdateSpec:
    template = {"spec": {"containers": [{"name": "server", "image": "server"}]}}
    return spec(serving={"replicas": 3, "template": template} | serving)


_SPECS = (
    spec(),
    _changed(replicas=2),
    _changed(template={"spec": {"containers": [{"name": "server", "image": "server:2"}]}}),
    spec(rollout={"approval": {"mode": "Manual"}, "bake": {"duration": "30s", "interval": "10s", "failureLimit": 1}}),
    spec(gate={"onInconclusive": "Hold"}),
    spec(rollout={"capacity": "Recreate", "bake": {"duration": "30s", "interval": "10s", "failureLimit": 1}}),
    spec(registry={"trackingURI": "http://mlflow:5000", "driftPolicy": "Restore"}),
    following(),
    following(data=None, evaluation={}),
    swapping(),
    swapping(approval={"mode": "Manual"}),
    swapping(capacity="Surge"),
)


def spec_changes(w: World, rng: Random) -> None:
    w.spec = rng.choice(_SPECS)


def an_alias_is_moved(w: World, rng: Random) -> None:
    if w.versions:
        w.aliases["champion"] = rng.choice(sorted(w.versions))


def status_is_lost(w: World, _: Random) -> None:
    if not any(p.ready and not p.lost and p.broken is None for p in w.pods.values()):
        return  # nothing is left to rebuild it from
    w.status = ModelUpdateStatus()
    w.jobs_seen.clear()  # nothing knows of a Job that is gone with the status


#: passes weigh more, or most of the walk would be chaos that no update survives
HAPPENINGS: tuple[tuple[Happening, int], ...] = (
    (a_pass_and_a_second, 30),
    (a_pass, 8),
    (a_pass_twice, 2),
    (crash_between_effects, 6),
    (status_write_lost, 1),
    (reply_of_status_write_lost, 3),
    (an_effect_fails, 3),
    (reply_of_an_effect_lost, 1),
    (stale_read, 1),
    (seconds_pass, 8),
    (deadline_passes, 1),
    (clock_jumps_back, 1),
    (a_pod_crashes, 2),
    (a_revision_crashes, 1),
    (a_node_is_lost, 1),
    (all_nodes_are_lost, 1),
    (pods_are_replaced, 3),
    (a_pod_comes_back, 2),
    (the_image_is_another, 1),
    (the_graph_changes, 1),
    (a_record_is_edited, 1),
    (registry_flips, 2),
    (next_verdict, 1),
    (next_version_is_bad, 1),
    (selector_is_edited, 1),
    (a_service_is_deleted, 1),
    (a_deployment_is_deleted, 1),
    (jobs_are_deleted, 1),
    (events_arrive, 2),
    (the_log_is_trimmed, 1),
    (training_slots_run_out, 1),
    (a_version_is_published, 2),
    (the_followed_alias_goes_back, 1),
    (somebody_asks, 3),
    (spec_changes, 1),
    (an_alias_is_moved, 1),
    (status_is_lost, 1),
)
