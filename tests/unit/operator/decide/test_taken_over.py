"""An update that another release of the operator began: it goes on as if this one had begun it, and nothing that serves
moves.

A status of an older release lacks what was added since, and holds what was given up since; one of a newer release holds
what this one never heard of. A world that is taken over is compared with a twin whose status has everything.
"""

from __future__ import annotations

from typing import Any

import pytest
from simulation import World, spec, swapping

from viridian_operator.api.status import ModelUpdateStatus, Phase, read_status

APPROVED: dict[str, Any] = {
    "bake": {"duration": "30s", "interval": "10s", "failureLimit": 1},
    "approval": {"mode": "Manual"},
}
_REVISION = {"graph", "swappable", "chain"}
_RESULTS = {"__all__": {"previous_value", "samples", "checked_at", "counts"}}
_UPDATE: dict[str, Any] = {
    **dict.fromkeys(("fresh", "capacity", "hot_swap", "room", "split", "outage_seconds"), True),
    **dict.fromkeys(("events", "standby", "restarts"), True),
    "attempts": {"seen", "judging"},
    "candidate": {"predicted_from", "graph"},
    "evaluation": {"tail"},
    "green": _REVISION,
    "bake": {"results": _RESULTS},
}
#: what was added after the first statuses that were ever written
SINCE_THE_FIRST: dict[str, Any] = {
    **dict.fromkeys(("fresh_at", "followed", "online", "drift", "gaps", "swept", "owed_tags"), True),
    "active": _REVISION,
    "preview": _REVISION,
    "previous": _REVISION,
    "update": _UPDATE,
    "backoff": {"looks", "attempted"},
}
#: what was added after hot swaps
SINCE_HOT_SWAPS: dict[str, Any] = {
    "online": True,
    "active": {"chain"},
    "previous": {"chain"},
    "update": {"green": {"chain"}},
}
BEFORE_THE_SWITCH = (Phase.QUEUED, Phase.TRAINING, Phase.EVALUATING, Phase.PREPARING, Phase.VERIFYING)
SWITCHING = (Phase.SCALING, Phase.SWITCHING, Phase.BAKING, Phase.ROLLING_BACK)
PHASES = [
    *(pytest.param(spec, SINCE_THE_FIRST, phase, id=f"first-{phase}") for phase in (*BEFORE_THE_SWITCH, *SWITCHING)),
    pytest.param(lambda: spec(rollout=APPROVED), SINCE_THE_FIRST, Phase.AWAITING_APPROVAL, id="first-AwaitingApproval"),
    *(
        pytest.param(swapping, SINCE_HOT_SWAPS, phase, id=f"swap-{phase}")
        for phase in (Phase.PREPARING, Phase.VERIFYING, *SWITCHING)
    ),
]


def written_by_another(status: ModelUpdateStatus, newer: dict[str, Any]) -> dict[str, Any]:
    """``status`` without what is ``newer``, and with fields that this release does not know."""
    raw = status.model_dump(mode="json", by_alias=True, exclude_none=True, exclude=newer)
    strange = {"ofAnotherRelease": {"a": [1]}}
    update = raw["update"] | strange | {"looks": 0, "attempts": raw["update"]["attempts"] | strange}
    if "bake" in update:
        update["bake"] = update["bake"] | {"failures": {}}
    return raw | strange | {"active": raw["active"] | strange, "update": update}


def in_phase(phase: Phase, chosen: Any) -> World:
    """A world whose second update has just come to ``phase``."""
    world = World(spec=swapping() if chosen is swapping else spec())
    world.settle()
    world.spec = chosen()
    if phase is Phase.ROLLING_BACK:
        world.unhealthy.add("2")
    world.events += 1500
    world.run(lambda w: w.status.phase is phase, seconds=0.5)
    return world


def cluster(world: World) -> tuple[object, ...]:
    """What is there, and where the traffic goes."""
    sizes = {name: deployment.replicas for name, deployment in world.deployments.items()}
    return sizes, dict(world.services), world.switches, world.serving_versions, world.jobs_created, world.aliases


@pytest.mark.parametrize(("chosen", "newer", "phase"), PHASES)
def test_an_update_of_another_release_goes_on(chosen: Any, newer: dict[str, Any], phase: Phase) -> None:
    world = in_phase(phase, chosen)
    twin = world.clone()
    world.status = read_status(written_by_another(world.status, newer))
    assert world.status.phase is phase
    if phase is Phase.AWAITING_APPROVAL:
        for each in (world, twin):
            each.request("approve/2/n")
    while twin.status.update and twin.status.update.running:
        for each in (world, twin):
            each.step()
            each.tick(0.5)
        assert (world.status.phase, cluster(world)) == (twin.status.phase, cluster(twin))
        assert world.serving_versions
    assert world.status.history[-1] == twin.status.history[-1]
    assert world.status.champion == twin.status.champion
    assert world.status.quarantine == twin.status.quarantine


@pytest.mark.parametrize(("healthy", "end"), [(True, Phase.SUCCEEDED), (False, Phase.ROLLED_BACK)])
def test_what_is_not_known_of_a_bake_is_watched_anew(healthy: bool, end: Phase) -> None:
    """Without the counts of its checks a bake lasts longer: neither passes nor failures are made up."""
    world = in_phase(Phase.BAKING, spec)
    if not healthy:
        world.unhealthy.add("2")
    world.run(lambda w: bool(w.status.update and w.status.update.bake and w.status.update.bake.results))
    world.status = read_status(written_by_another(world.status, SINCE_THE_FIRST))
    switches, began = len(world.switches), world.now
    world.run(lambda w: w.status.update is not None and not w.status.update.running)
    assert world.status.update and world.status.update.phase is end, world.status.update
    assert len(world.switches) - switches == (0 if healthy else 1)
    needed = world.spec.rollout.bake.duration if healthy else 2 * world.spec.rollout.bake.interval
    assert world.now - began >= needed
