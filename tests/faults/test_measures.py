"""How long callers wait for the new version, how fast the switch follows the proof, how fast a rollback is."""

from __future__ import annotations

import statistics
from contextlib import AbstractContextManager, ExitStack
from datetime import datetime
from typing import Any

import pytest
from loop.callers import LocalCaller
from loop.manifests import NAME
from redis_server import RedisServer

from faults.measuring import record_value
from faults.oracle import on_blue, since, succeeded
from faults.registry import DOWN
from faults.timeline import Change
from faults.world import Mark, World
from viridian_operator.api.names import REVISION

OWN_DELAY, BACK_WITHIN = 0.05, 5.0
#: seconds from the first answer of the new version to the last of the old one
STALE_TAIL = {"keepalive": 2.0, "new": 1.0}
#: from the selector to the last answer of the old version over a new connection; in a single switch the kube-proxy of a
#: busy machine may take a second for its rules, which it by default writes once in a second anyway
FOLLOWED_WITHIN, FOLLOWED_ONCE = 1.0, 2.0
WRITES = 40
FROM_CRASH = "first EndpointSlice without a pod of green to the selector on blue"
ROLLOUT = ("Preparing", "Verifying", "Scaling", "Switching", "Baking", "Succeeded", "Idle")
_own_delays: list[float] = []
_followed: list[float] = []


def _rounds(lean: int, whole: int) -> list[object]:
    return [pytest.param(n, id=f"{n:02}", marks=() if n < lean else pytest.mark.thorough) for n in range(whole)]


@pytest.mark.parametrize("round_", _rounds(1, 10))
def test_connections_leave_the_old_version(world: World, round_: int) -> None:
    world.settled()
    service = (world.timeline.get("Service", NAME) or {})["spec"]
    address = f"{service['clusterIP']}:{service['ports'][0]['port']}"
    caller = LocalCaller(address, world.space.name, world.folder / "golden.json")
    mark = world.update()
    record = succeeded(world, mark)
    summary = caller.stop()
    tails = {mode: _stale_tail(summary, record["digest"], mode) for mode in STALE_TAIL}
    what = "first answer of the new version to the last of the old"
    record_value("stale-tail", "s", tails["keepalive"], f"{what}, kept connections")
    record_value("stale-tail-new", "s", tails["new"], f"{what}, new connections")
    last = _first_answer(summary, record["digest"]) + tails["new"]
    _followed.append(max(0.0, last - _selected(world, mark).moment))
    record_value("followed", "s", _followed[-1], "the selector to the last answer of the old version, new connections")
    record_value("own-delay", "ms", _own_delay(world, mark) * 1000, "green proven to the write of the selector")
    writes = [call for call in world.proxy.calls[mark.call :] if call.write and call.resource != "leases"]
    record_value("writes", "requests", float(len(writes)), "writes of an update, events among them")
    _own_delays.append(_own_delay(world, mark))
    assert summary["total"]["failed"] == 0
    assert tails["keepalive"] <= STALE_TAIL["keepalive"]
    assert tails["new"] <= STALE_TAIL["new"]
    assert _followed[-1] <= FOLLOWED_ONCE


@pytest.mark.thorough  # one value tells nothing on a busy machine
def test_new_connections_follow_the_selector(world: World) -> None:
    assert _followed, "measured by the tests above"
    assert statistics.median(_followed) <= FOLLOWED_WITHIN


@pytest.mark.thorough  # one value tells nothing on a busy machine
def test_the_selector_follows_the_proof_at_once(world: World) -> None:
    assert _own_delays, "measured by the tests above"
    assert statistics.median(_own_delays) <= OWN_DELAY


@pytest.mark.thorough
def test_a_bake_of_a_minute_needs_few_writes(world: World) -> None:
    """Without the training part: from the first phase of the new revision to the end."""
    world.settled()
    world.apply(rollout={"bake": {"duration": "60s", "interval": "10s", "deadline": "3m"}})
    mark = world.update()
    succeeded(world, mark, 180)
    world.apply()
    calls = [call for call in world.proxy.calls[mark.call :] if call.phase in ROLLOUT]
    writes = [call for call in calls if call.step]
    record_value("rollout-writes", "requests", float(len(writes)), "writes from Preparing on, Events and Lease apart")
    reads = sum(call.verb in ("get", "list") for call in calls)
    record_value("rollout-reads", "requests", float(reads), "reads from Preparing on")
    assert len(writes) <= WRITES, [str(call) for call in writes]


@pytest.mark.parametrize("round_", _rounds(0, 50))
def test_traffic_is_back_soon_after_a_crash(world: World, round_: int) -> None:
    back = _back_after_crash(world)
    record_value("rollback-after-crash", "s", back, FROM_CRASH)
    assert back <= BACK_WITHIN


@pytest.mark.parametrize("round_", _rounds(0, 50))
def test_traffic_is_back_as_soon_without_registry_and_event_log(
    world: World, shared_redis: RedisServer, round_: int
) -> None:
    back = _back_after_crash(world, world.registry.being(DOWN), shared_redis.silent())
    record_value("rollback-after-crash-alone", "s", back, f"{FROM_CRASH}, without MLflow and Redis")
    assert back <= BACK_WITHIN


@pytest.mark.parametrize("round_", _rounds(0, 12))
def test_traffic_is_back_soon_after_a_failed_check(world: World, round_: int) -> None:
    world.settled()
    mark = world.update()
    green = world.phase(mark, "Baking")["active"]["hash"]
    world.strike(green, {"status": 500})
    record = world.ended(mark)
    assert (record["phase"], record["reason"]) == ("RolledBack", "HealthCheckFailed"), record["message"]
    on_blue(world, mark)
    back = _back_after_check(world, mark, green)
    record_value("rollback-after-check", "s", back, "beginning of the health check that failed to the selector on blue")
    assert back <= BACK_WITHIN


def _back_after_crash(world: World, *faults: AbstractContextManager[None]) -> float:
    """All pods of green crash in its bake, while ``faults`` are on; seconds."""
    world.settled()
    mark = world.update()
    status = world.phase(mark, "Baking")
    green, version = status["active"]["hash"], status["active"]["version"]
    world.prepare_faults(**{version: {"crash": True}})
    with ExitStack() as stack:
        for fault in faults:
            stack.enter_context(fault)
        world.strike(green, {"crash": True})
        record = world.ended(mark)
    world.prepare_faults()
    assert record["phase"] == "RolledBack", record["message"]
    on_blue(world, mark)
    return _back(world, mark, green)


def _back_after_check(world: World, mark: Mark, green: str) -> float:
    results = world.status()["update"]["bake"]["results"]
    failed = min(datetime.fromisoformat(each["checkedAt"]) for each in results if each["outcome"] == "Failed")
    selected = [c for c in since(world, mark) if c.kind == "Service" and c.name == NAME]
    back = next(c for c in reversed(selected) if c.object["spec"]["selector"].get("viridian.dev/revision") != green)
    return back.moment - failed.timestamp()


def _first_answer(summary: dict[str, Any], digest: str) -> float:
    """When a version answered first; wall clock."""
    return next(float(each["firstTime"]) for each in summary["versions"] if each["digest"] == digest)


def _stale_tail(summary: dict[str, Any], digest: str, mode: str) -> float:
    """How long after the first answer of the new version the old one answered over such connections; seconds."""
    last = summary["modes"][mode]["lastOld"]
    return 0.0 if last is None else max(0.0, summary["startTime"] + last - _first_answer(summary, digest))


def _selected(world: World, mark: Mark) -> Change:
    """The change of the active Service by which it selects what is active now."""
    active, services = world.status()["active"]["hash"], (c for c in since(world, mark) if c.kind == "Service")
    return next(c for c in services if c.name == NAME and c.object["spec"]["selector"].get(REVISION) == active)


def _own_delay(world: World, mark: Mark) -> float:
    """From the request that writes the intent to the one that changes the Service."""
    calls = world.proxy.calls[mark.call :]
    switch = next(
        c for c in calls if c.resource == "services" and c.name == NAME and c.phase == "Switching" and c.write
    )
    intents = [c for c in calls if c.resource == "modelupdates" and c.write and c.phase == "Scaling"]
    return switch.moment - intents[-1].moment


def _back(world: World, mark: Mark, green: str) -> float:
    changes = since(world, mark)
    selected = [c for c in changes if c.kind == "Service" and c.name == NAME]
    back = next(c for c in reversed(selected) if c.object["spec"]["selector"].get("viridian.dev/revision") != green)
    switched = next(c for c in selected if c.object["spec"]["selector"].get("viridian.dev/revision") == green)
    slices = [c for c in changes if c.kind == "EndpointSlice" and c.version > switched.version and _lost(c)]
    return max(0.0, back.moment - slices[0].moment) if slices and slices[0].version < back.version else 0.0


def _lost(change: object) -> bool:
    labels = change.object["metadata"].get("labels") or {}  # type: ignore[attr-defined]
    endpoints = change.object.get("endpoints") or ()  # type: ignore[attr-defined]
    ready = [each for each in endpoints if (each.get("conditions") or {}).get("ready") is not False]
    return labels.get("kubernetes.io/service-name") == NAME and len(ready) < len(endpoints)
