"""What the decisions write, written to a real API server: it is accepted, and read back it is the same.

The simulated world keeps a status as it was decided; the explorer's verdicts rest on that.
"""

from __future__ import annotations

from random import Random

import pytest
from tests.explore.actions import HAPPENINGS
from tests.explore.search import check

from viridian_operator.api.status import ModelUpdateStatus, read_status
from viridian_operator.kube.cluster import ApiCluster
from viridian_operator.kube.resources import MODEL_UPDATE, ObjectRef

from simulation import World  # isort: skip

pytestmark = pytest.mark.api

STEPS = 150
_HAPPENINGS, _WEIGHTS = zip(*HAPPENINGS, strict=True)


def manifest(namespace: str, world: World) -> dict:
    metadata = {"namespace": namespace, "name": "ctr"}
    return {
        "apiVersion": "viridian.dev/v1alpha1",
        "kind": "ModelUpdate",
        "metadata": metadata,
        "spec": world.spec.wire(),
    }


@pytest.mark.parametrize("seed", [*range(4), *(pytest.param(n, marks=pytest.mark.thorough) for n in range(4, 100))])
async def test_every_status_of_a_walk_is_accepted_and_comes_back(
    cluster: ApiCluster, namespace: str, seed: int
) -> None:
    rng, world = Random(seed), World()
    if seed % 2:
        world.settle()
    held = await cluster.create(manifest(namespace, world))
    ref = ObjectRef(MODEL_UPDATE, namespace, "ctr", held["metadata"]["uid"])
    written = ModelUpdateStatus()
    for _ in range(STEPS):
        happening = rng.choices(_HAPPENINGS, _WEIGHTS)[0]
        happening(world, rng)
        check(world)
        if world.status == written:
            continue
        before, written = written, world.status
        held = await cluster.get(MODEL_UPDATE, namespace, "ctr")
        held = await cluster.replace_status(ref, written.wire(), held["metadata"]["resourceVersion"])
        assert read_status(held["status"]) == written, f"after {happening.__name__}; before: {before}"
