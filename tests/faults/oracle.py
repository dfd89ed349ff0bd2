"""What must hold after every cell of the matrix."""

from __future__ import annotations

from typing import Any

from loop.manifests import NAME
from loop.registry import Mlflow

from faults.manifests import REPLICAS
from faults.timeline import Change
from faults.world import LIMIT, Mark, World

#: requests per second that every cell has at least
RATE = 100
#: time by which a client on a busy machine may be late with them: it sends all that are due as soon as it can
LATE = 1.0


def unharmed(world: World, mark: Mark) -> dict[str, int]:
    """The callers noticed nothing, and the invariants held at every change; returns what was counted."""
    assert invariants(world, mark) == []
    return no_request_lost(world, mark)


def invariants(world: World, mark: Mark) -> list[str]:
    """What was wrong since ``mark``."""
    before = len(world.watchman_until(mark).wrong)
    return world.watchman().wrong[before:]


def no_request_lost(world: World, mark: Mark) -> dict[str, int]:
    """0 failed, 0 mixed, 0 wrong of everything that was sent since ``mark``, which is enough to tell."""
    assert world.load is not None
    counted = world.load.none_lost_since(mark.counters)
    assert not too_few(counted), f"no {RATE} requests per second: {counted}"
    return counted


def too_few(counted: dict[str, int]) -> bool:
    """Whether less was sent than would show a short outage."""
    return counted["sent"] < RATE * (counted["milliseconds"] / 1000 - LATE)


def succeeded(world: World, mark: Mark, seconds: float = LIMIT) -> dict[str, Any]:
    """The update after ``mark`` ended as an undisturbed one: one Job per attempt, one version, one switch."""
    record = world.ended(mark, seconds)
    assert record["phase"] == "Succeeded", record["message"]
    status, number = world.status(), record["number"]
    assert status["active"]["digest"] == status["champion"]["digest"] == record["digest"]
    assert jobs(world, mark) == [f"{NAME}-eval-{number}-a1", f"{NAME}-train-{number}-a1"]
    assert versions(world, number) == [record["version"]]
    assert switches(world, mark) == [status["active"]["hash"]]
    unharmed(world, mark)
    return record


def rolled_back(world: World, mark: Mark, seconds: float = LIMIT) -> dict[str, Any]:
    """The update after ``mark`` got the traffic, failed its health check and gave the traffic back, as one that nothing
    else disturbed: one Job per attempt, one version, one switch and one back, and a candidate in quarantine."""
    record = world.ended(mark, seconds)
    assert (record["phase"], record["reason"]) == ("RolledBack", "HealthCheckFailed"), record["message"]
    number, blue = record["number"], mark.status["active"]["hash"]
    assert [revision == blue for revision in switches(world, mark)] == [False, True]
    on_blue(world, mark)
    assert record["digest"] in {each["digest"] for each in world.status()["quarantine"]}
    assert jobs(world, mark) == [f"{NAME}-eval-{number}-a1", f"{NAME}-train-{number}-a1"]
    assert versions(world, number) == [record["version"]]
    unharmed(world, mark)
    return record


def jobs(world: World, mark: Mark) -> list[str]:
    """Every Job that was ever made since ``mark``, by name; one that was made twice is there twice."""
    made = {(change.name, change.object["metadata"]["uid"]) for change in since(world, mark) if change.kind == "Job"}
    return sorted(name for name, _ in made if f"-{mark.number + 1}-a" in name)


def versions(world: World, number: int) -> list[str]:
    """What an update has registered."""
    uid = world.space.get("modelupdate", NAME)["metadata"]["uid"]
    found = Mlflow(world.registry.uri).versions(world.space.name)
    return [str(each["version"]) for each in found if each["tags"].get("viridian.update") == f"{uid}/{number}"]


def switches(world: World, mark: Mark) -> list[str]:
    """Revisions that got the traffic since ``mark``."""
    return world.watchman().selections[len(world.watchman_until(mark).selections) :]


def since(world: World, mark: Mark) -> list[Change]:
    """Changes since ``mark``."""
    return world.timeline.since(mark.version)


def on_blue(world: World, mark: Mark) -> None:
    """What served before serves again, at full size, as champion; nothing else changed."""
    before, status = mark.status, world.status()
    assert status["active"]["digest"] == before["active"]["digest"]
    assert status["champion"] == before["champion"]
    assert world.watchman().selected == before["active"]["hash"]
    # at once where it stood by; after an outage by order (Recreate) its pods have to start again
    world.timeline.wait(lambda: _is_complete(world, before["active"]["deployment"]), LIMIT, "blue is complete")


def _is_complete(world: World, deployment: str) -> bool:
    found = world.timeline.get("Deployment", deployment) or {"spec": {}}
    wanted, ready = found["spec"].get("replicas"), (found.get("status") or {}).get("readyReplicas")
    return bool(wanted == ready == REPLICAS)
