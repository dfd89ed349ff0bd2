"""The oracle sees what it must not overlook."""

from __future__ import annotations

from typing import Any

import pytest

from faults.invariants import Watchman
from faults.oracle import too_few
from faults.timeline import Change

BLUE, GREEN = "b" * 8, "g" * 8


def _change(kind: str, name: str, body: dict[str, Any], what: str = "MODIFIED") -> Change:
    labels = body.pop("labels", {})
    metadata = {"name": name, "labels": labels, "annotations": body.pop("annotations", {})}
    return Change(0, what, kind, {"metadata": metadata, **body}, 0.0)


def service(revision: str | None, what: str = "MODIFIED") -> Change:
    selector = {"viridian.dev/model-update": "ctr", **({"viridian.dev/revision": revision} if revision else {})}
    return _change("Service", "ctr", {"spec": {"selector": selector}}, what)


def deployment(revision: str, replicas: int, what: str = "MODIFIED", digest: str = "") -> Change:
    about = {"labels": {"viridian.dev/revision": revision}, "annotations": {"viridian.dev/digest": digest or revision}}
    return _change("Deployment", f"ctr-{revision}", {**about, "spec": {"replicas": replicas}}, what)


def endpoints(ready: int) -> Change:
    body = {"endpoints": [{"conditions": {"ready": index < ready}} for index in range(3)]}
    return _change("EndpointSlice", "ctr-1", {"labels": {"kubernetes.io/service-name": "ctr"}, **body})


def status(phase: str, verdict: str = "Pass", **more: Any) -> Change:
    update = {"kind": "Incremental", "phase": phase, "evaluation": {"verdict": verdict}, "candidate": {"digest": GREEN}}
    active = {"hash": BLUE, "digest": BLUE}
    return _change("ModelUpdate", "ctr", {"status": {"phase": phase, "update": update, "active": active, **more}})


BEGIN = [status("Evaluating", "Inconclusive"), deployment(BLUE, 3), service(BLUE), endpoints(3), deployment(GREEN, 3)]
AFTER = {"active": {"hash": GREEN, "digest": GREEN}, "previous": {"hash": BLUE, "digest": BLUE}}
VIOLATED = [{"type": "InvariantViolated", "message": "broken"}]
GOOD = [*BEGIN, status("Switching"), service(GREEN), endpoints(3), status("Baking", **AFTER)]


def test_an_update_as_it_should_be() -> None:
    watchman = Watchman("ctr").look([*GOOD, status("Succeeded", **AFTER), deployment(BLUE, 1)])
    assert (watchman.wrong, watchman.selections) == ([], [BLUE, GREEN])


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        pytest.param([*BEGIN, service(None)], "selects", id="stripped-selector"),
        pytest.param(
            [*BEGIN, status("Baking", conditions=VIOLATED)], "itself found: broken", id="found-by-the-operator"
        ),
        pytest.param([*BEGIN, service(BLUE, "DELETED")], "deleted", id="deleted-service"),
        pytest.param([*BEGIN, service(GREEN)], "passed no gate", id="switch-without-pass"),
        pytest.param([*BEGIN, endpoints(0)], "no ready endpoint", id="no-endpoint"),
        pytest.param([*BEGIN, deployment(BLUE, 2)], "while it was selected", id="selected-scaled-down"),
        pytest.param([*BEGIN, deployment(BLUE, 3, "DELETED")], "while it was selected", id="selected-deleted"),
        pytest.param([*GOOD, deployment(BLUE, 1)], "not proven", id="blue-scaled-down-in-the-bake"),
        pytest.param([*BEGIN, deployment(BLUE, 3, digest=GREEN)], "passed no gate", id="swap-without-pass"),
    ],
)
def test_what_is_wrong(changes: list[Change], told: str) -> None:
    wrong = Watchman("ctr").look(changes).wrong
    assert len(wrong) == 1
    assert told in wrong[0]


@pytest.mark.parametrize(("sent", "few"), [(1200, False), (901, False), (899, True), (0, True)])
def test_a_load_that_is_too_thin_proves_nothing(sent: int, few: bool) -> None:
    assert too_few({"sent": sent, "milliseconds": 10_000}) is few
