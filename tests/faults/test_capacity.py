"""``capacity: Recreate`` on real pods: an outage by order, and what served comes back if the candidate fails."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from loop.manifests import NAME

from faults.oracle import jobs, on_blue
from faults.world import Mark, World
from viridian_operator.api.names import REVISION


@pytest.fixture
def recreated(world: World) -> Iterator[World]:
    """A world without room for two revisions."""
    world.settled()
    world.apply(rollout={"capacity": "Recreate", "preview": {"replicas": 1}})
    yield world
    world.apply()
    world.settled()


@pytest.mark.thorough
def test_never_two_revisions_at_once(recreated: World) -> None:
    mark = recreated.update()
    record = recreated.ended(mark)
    assert record["phase"] == "Succeeded", record["message"]
    status = recreated.status()
    assert status["active"]["digest"] == status["champion"]["digest"] == record["digest"]
    assert jobs(recreated, mark) == [f"{NAME}-eval-{record['number']}-a1", f"{NAME}-train-{record['number']}-a1"]
    assert _side_by_side(recreated, mark) == []


@pytest.mark.thorough
def test_what_served_comes_back(recreated: World) -> None:
    recreated.prepare_faults(**{recreated.next_version(): {"crash": True}})
    mark = recreated.update()
    record = recreated.ended(mark)
    recreated.prepare_faults()
    assert record["phase"] in ("Failed", "RolledBack"), record["message"]
    on_blue(recreated, mark)


def _side_by_side(world: World, mark: Mark) -> list[str]:
    """Moments at which pods of two revisions were wanted."""
    sizes: dict[str, int] = {}
    found = []
    for change in world.timeline.since():
        if change.kind != "Deployment":
            continue
        revision = change.object["metadata"]["labels"].get(REVISION, "")
        sizes[revision] = 0 if change.type == "DELETED" else int(change.object["spec"]["replicas"])
        if change.version > mark.version and sum(size > 0 for size in sizes.values()) > 1:
            found.append(f"at {change.version}: {sizes}")
    return found
