"""A registry that is away, slow, forbidding or tampered with: what serves needs none."""

from __future__ import annotations

import urllib.parse
import urllib.request
from typing import Any

import pytest
from loop.registry import Mlflow

from faults.mischief import Do, Fault, Where
from faults.oracle import invariants, no_request_lost, on_blue, succeeded, switches
from faults.registry import DOWN, SLOW, UNAUTHORIZED
from faults.world import Mark, World

#: before the candidate's pods have their bundle, the end of the update may be a failure, but of nothing that serves
#: phases in which something new needs the registry: pods that are added in Scaling load the bundle from it, too
BEFORE = ("Training", "Evaluating", "Preparing", "Scaling")
MODES = (DOWN, SLOW, UNAUTHORIZED)
SECONDS = 6.0
LEAN: set[tuple[str, str]] = set()
CELLS = [
    pytest.param(mode, phase, id=f"{mode}-{phase}", marks=() if (mode, phase) in LEAN else (pytest.mark.thorough,))
    for mode in MODES
    for phase in (*BEFORE, "Switching", "Baking")
]


@pytest.mark.parametrize(("mode", "phase"), CELLS)
def test_registry(world: World, mode: str, phase: str) -> None:
    world.settled()
    mark = world.update()
    world.phase(mark, phase)
    with world.registry.being(mode):
        # the length of the outage is what is tested
        world.proxy.gone.wait(SECONDS)
    record = world.ended(mark, 120)
    if record["phase"] != "Succeeded":
        assert (record["phase"], phase in BEFORE) == ("Failed", True), record["message"]
        on_blue(world, mark)
    _unnoticed(world, mark)


@pytest.mark.parametrize("mode", [DOWN, pytest.param(UNAUTHORIZED, marks=pytest.mark.thorough)])
def test_rollback_needs_no_registry(world: World, mode: str) -> None:
    world.settled()
    mark = world.update()
    green = world.phase(mark, "Baking")["active"]["hash"]
    with world.registry.being(mode):
        world.strike(green, {"unready": True})
        record = world.ended(mark, 30)
    assert record["phase"] == "RolledBack", record["message"]
    on_blue(world, mark)
    assert [wrong for wrong in invariants(world, mark) if "no ready endpoint" not in wrong] == []


@pytest.mark.thorough
def test_version_deleted_before_green_starts(world: World) -> None:
    mark = _tampered(world, _delete_version)
    record = world.ended(mark)
    assert (record["phase"], record["reason"]) == ("Failed", "VersionMissing"), record["message"]
    _untouched(world, mark)


def test_artifact_changed_before_green_starts(world: World) -> None:
    mark = _tampered(world, _change_artifact)
    record = world.ended(mark)
    assert (record["phase"], record["reason"]) == ("Failed", "DigestMismatch"), record["message"]
    _untouched(world, mark)


@pytest.mark.thorough
def test_alias_moved_by_a_person(world: World) -> None:
    mark = _tampered(world, _move_alias)
    record = world.ended(mark)
    assert record["phase"] == "Succeeded", record["message"]
    registry, model = Mlflow(world.registry.uri), world.space.name
    world.timeline.wait(lambda: _knows_aliases(world), 30, "the aliases are written")
    assert registry.aliases(model)["champion"] == record["version"]
    _unnoticed(world, mark)


@pytest.mark.thorough
def test_alias_moved_by_a_person_between_updates(world: World) -> None:
    """Told with ``driftPolicy: Report``, put back with ``Restore``; what serves has nothing to do with it."""
    world.settled()
    older = world.status()["champion"]["version"]
    champion = succeeded(world, world.update())["version"]
    world.timeline.wait(lambda: _knows_aliases(world), 60, "the aliases are written")
    mark = world.mark()
    _move_alias(world, older)
    _look_at_aliases(world)
    world.timeline.wait(lambda: _drifted(world) == ("True", "AliasDrift"), 60, "the move is told")
    assert world.status()["aliases"]["foreign"] == {"champion": older}
    registry, model = Mlflow(world.registry.uri), world.space.name
    assert registry.aliases(model)["champion"] == older
    world.apply(registry={"driftPolicy": "Restore"})
    _look_at_aliases(world)
    world.timeline.wait(lambda: _drifted(world) is None and _knows_aliases(world), 60, "nothing drifts any more")
    world.apply()
    assert registry.aliases(model)["champion"] == champion
    assert world.mark().number == mark.number
    assert world.status()["active"] == mark.status["active"]
    assert switches(world, mark) == []
    _unnoticed(world, mark)


def _look_at_aliases(world: World) -> None:
    """They are read at the start of a process, and every ten minutes."""
    world.kill()
    world.start()


def _knows_aliases(world: World) -> bool:
    return bool((world.status().get("aliases") or {}).get("confirmed"))


def _drifted(world: World) -> tuple[str, str] | None:
    """Status and reason of the condition; None without it."""
    found = next((each for each in world.status()["conditions"] if each["type"] == "Drifted"), None)
    return (found["status"], found["reason"]) if found else None


def _tampered(world: World, tamper: Any) -> Mark:
    """An update whose version was tampered with after the verdict and before the first pod of green."""
    world.settled()
    hold = Fault(Do.DELAY, Where(phases=("Evaluating",)), seconds=2)
    with world.proxy.disturbed(hold):
        mark = world.update()
        candidate = world.phase(mark, "Evaluating")["update"]["candidate"]
        tamper(world, candidate["version"])
    return mark


def _delete_version(world: World, version: str) -> None:
    _call(world, "DELETE", "model-versions/delete", f'{{"name": "{world.space.name}", "version": "{version}"}}')


def _move_alias(world: World, version: str) -> None:
    body = f'{{"name": "{world.space.name}", "alias": "champion", "version": "{version}"}}'
    _call(world, "POST", "registered-models/alias", body)


def _change_artifact(world: World, version: str) -> None:
    source = Mlflow(world.registry.uri).version(world.space.name, version)["source"]
    path = urllib.parse.urlsplit(source).path.strip("/")
    url = f"{world.registry.uri}/api/2.0/mlflow-artifacts/artifacts/{path}/weights"
    urllib.request.urlopen(urllib.request.Request(url, b"other", method="PUT"), timeout=10).close()


def _call(world: World, method: str, path: str, body: str) -> None:
    request = urllib.request.Request(f"{world.registry.uri}/api/2.0/mlflow/{path}", body.encode(), method=method)
    request.add_header("Content-Type", "application/json")
    urllib.request.urlopen(request, timeout=10).close()


def _untouched(world: World, mark: Mark) -> None:
    on_blue(world, mark)
    assert switches(world, mark) == []
    _unnoticed(world, mark)


def _unnoticed(world: World, mark: Mark) -> None:
    assert invariants(world, mark) == []
    no_request_lost(world, mark)
