"""What the operator refuses to train, to judge or to roll out, whoever says that it is fine."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from simulation import World

from viridian_operator.api.status import Kind, ModelUpdateStatus, Phase, Quarantined, Update
from viridian_operator.decide.invariants import violations
from viridian_operator.decide.observation import PodTrouble


@pytest.fixture
def first() -> World:
    """Serves version 1, and an update has enough events to start."""
    world = World()
    world.settle()
    world.events += 1500
    return world


def update(world: World) -> Update:
    assert world.status.update
    return world.status.update


def until(world: World, phase: Phase) -> None:
    world.run(lambda w: w.status.update is not None and w.status.update.number == 2 and w.status.phase is phase)


def ended(world: World, phase: Phase, reason: str) -> None:
    world.run(lambda w: update(w).number == 2 and not update(w).running)
    assert (update(world).phase, update(world).reason) == (phase, reason), update(world).message
    assert world.serving_versions == {"1"}


def lies_in_the_registry(world: World, **changes: Any) -> None:
    """The next version is registered as something else than what its Job said."""
    until(world, Phase.TRAINING)
    while not any(version.update.endswith("/2") for version in world.versions.values()):
        world.tick(1)
    world.versions = {n: replace(v, **changes) if n == "2" else v for n, v in world.versions.items()}


def test_a_window_that_does_not_begin_at_the_champions_watermark_is_refused(first: World) -> None:
    watermark = first.status.champion and first.status.champion.watermark
    until(first, Phase.TRAINING)
    window = update(first).window
    assert window and window.start == watermark
    skipping = window.but(start={**window.start, "0": "950@1-950"})
    lies_in_the_registry(first, window=skipping)
    ended(first, Phase.FAILED, "ResultMismatch")


def test_a_window_in_status_that_does_not_begin_there_is_told(first: World) -> None:
    """Status was edited by hand: the Job exists, so that what can be done is to say so."""
    until(first, Phase.TRAINING)
    window = update(first).window
    assert window
    skipping = update(first).but(window=window.but(start={**window.start, "0": "950@1-950"}))
    found = violations(first.spec, first.status.but(update=skipping), first.observe())
    assert [violation.invariant for violation in found] == ["WindowsContiguous"]


def test_a_parent_in_quarantine_is_refused_until_somebody_decides(first: World) -> None:
    champion = first.status.champion
    assert champion
    bad = Quarantined(digest=champion.digest, version="1", reason="HealthCheckFailed", update=1, at=first.now)
    first.status = first.status.but(quarantine=[bad], update=None)
    for _ in range(5):
        first.step()
        first.tick(1)
    assert first.status.update is None
    stalled = next(c for c in first.status.conditions if c.type == "Stalled")
    assert (stalled.status, stalled.reason) == ("True", "Quarantined")
    assert "retrain/" in stalled.message
    first.request("retrain/1")
    first.run(lambda w: w.status.update is not None)
    assert (update(first).kind, update(first).parent) == (Kind.FULL, None)


def test_a_parent_that_the_registry_knows_to_be_in_quarantine_is_refused_after_status_was_lost(first: World) -> None:
    tags = {**first.versions["1"].tags, "viridian.quarantine": "CrashLoop"}
    first.versions["1"] = replace(first.versions["1"], tags=tags)
    first.status = ModelUpdateStatus()
    for _ in range(10):
        first.step()
        first.tick(1)
    assert first.status.update is None
    assert "in quarantine: CrashLoop" in first.status.message
    assert first.serving_versions == {"1"}


@pytest.mark.parametrize(
    "changes", [{"digest": "sha256:other"}, {"parent": "sha256:other"}, {"update": "uid-1/7"}, {"version": "3"}]
)
def test_a_version_that_is_registered_as_something_else_is_refused(first: World, changes: dict[str, str]) -> None:
    lies_in_the_registry(first, **changes)
    if "update" in changes:
        ended(first, Phase.FAILED, "VersionMissing")
    else:
        ended(first, Phase.FAILED, "ResultMismatch")


def test_a_bundle_whose_files_differ_from_its_digest_is_refused(first: World) -> None:
    """The pod verifies every file before it serves, and says which kind of failure it was."""
    first.stillborn["2"] = PodTrouble.DIGEST_MISMATCH
    ended(first, Phase.FAILED, "DigestMismatch")
