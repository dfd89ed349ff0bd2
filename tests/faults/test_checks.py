"""Health checks of kind ``latency`` and ``job`` on real pods: a pass promotes, a failure goes back."""

from __future__ import annotations

from typing import Any

import pytest

from faults.manifests import light_image
from faults.oracle import invariants, no_request_lost, on_blue
from faults.world import World

PATIENT = {"bake": {"deadline": "60s"}}


def latency(limit: float) -> dict[str, Any]:
    """No slower than ``limit`` milliseconds at the 90th percentile."""
    return {"name": "fast", "latency": {"max": limit, "quantile": 0.9, "requests": 5, "minSamples": 10}}


def job(code: int) -> dict[str, Any]:
    """A Job that ends with ``code``."""
    script = f"import sys; sys.exit({code})"
    resources = {"requests": {"cpu": "10m", "memory": "32Mi"}}
    container = {"name": "check", "image": light_image(), "command": ["python3", "-c", script], "resources": resources}
    return {"name": "smoke", "job": {"deadline": "30s", "template": {"spec": {"containers": [container]}}}}


@pytest.mark.thorough
@pytest.mark.parametrize("kind", ["latency", "job"])
def test_a_check_that_passes_promotes(world: World, kind: str) -> None:
    world.settled()
    check = latency(5000) if kind == "latency" else job(0)
    world.apply(rollout={**PATIENT, "healthChecks": [check]})
    mark = world.update()
    record = world.ended(mark)
    results = world.status()["update"]["bake"]["results"]
    world.apply()
    assert record["phase"] == "Succeeded", record["message"]
    assert {each["name"]: each["outcome"] for each in results}[check["name"]] == "Passed"
    assert invariants(world, mark) == []
    no_request_lost(world, mark)


@pytest.mark.parametrize("check", ["latency", "job"])
@pytest.mark.thorough
def test_a_check_that_fails_goes_back(world: World, check: str) -> None:
    world.settled()
    world.apply(rollout={**PATIENT, "healthChecks": [latency(150) if check == "latency" else job(1)]})
    mark = world.update()
    green = world.phase(mark, "Baking")["active"]["hash"]
    if check == "latency":
        world.strike(green, {"delay": 0.4})
    record = world.ended(mark)
    world.apply()
    assert (record["phase"], record["reason"]) == ("RolledBack", "HealthCheckFailed"), record["message"]
    on_blue(world, mark)
    assert invariants(world, mark) == []
    no_request_lost(world, mark)


@pytest.mark.thorough
def test_a_check_job_that_never_starts_is_no_pass(world: World) -> None:
    """Missing is not success: without a result the bake is inconclusive at its deadline, and that goes back."""
    world.settled()
    check = job(0)
    check["job"]["template"]["spec"]["nodeSelector"] = {"no-such": "node"}
    world.apply(rollout={"bake": {"deadline": "12s"}, "healthChecks": [check]})
    mark = world.update()
    record = world.ended(mark)
    world.apply()
    assert record["phase"] == "RolledBack", record["message"]
    on_blue(world, mark)
    no_request_lost(world, mark)
