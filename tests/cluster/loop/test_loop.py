"""One model's story under load: served, followed by an increment, given back, and broken in service."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from loop.appending import Stream
from loop.callers import Caller
from loop.following import Following
from loop.manifests import NAME, model_update
from loop.registry import mlflow
from loop.serving import condition, ended, last_number, phases, serve_first, served
from loop.space import Space
from loop.waiting import until

SERVING = {"replicas": 2}
FRAGILE = {"config": {"architecture": "viridian_demo.fragile:FragileDeepFM"}}
#: from the failed check to the first answer of the previous version, and to the last failure
ROLLBACK_LIMIT = 5.0
PHASES = ["Queued", "Training", "Evaluating", "Preparing", "Verifying", "Scaling", "Switching", "Baking"]
REASONS = [
    "Queued",
    "TrainingStarted",
    "Trained",
    "GatePassed",
    "Preparing",
    "Verified",
    "TrafficSwitched",
    "Promoted",
]


@pytest.fixture(scope="module", autouse=True)
def model(space: Space, stream: Stream) -> None:
    serve_first(space, stream, serving=SERVING)


@pytest.fixture(scope="module")
def calls(space: Space, model: None) -> Caller:
    return Caller(space, _golden(space, served(space).version))


@pytest.fixture(scope="module")
def before_increment(space: Space, model: None) -> dict[str, Any]:
    return space.status(NAME)


def test_first_model_is_served(space: Space) -> None:
    status = space.status(NAME)
    assert status["champion"]["digest"] == status["active"]["digest"]
    assert condition(status, "GatePassed")["reason"] == "FirstModel"
    _alias_becomes(space, "champion", status["active"]["version"])


def test_increment_takes_over_without_losing_a_request(
    space: Space, stream: Stream, calls: Caller, following: Following, before_increment: dict[str, Any]
) -> None:
    number, before = last_number(space) + 1, calls.counters()
    stream.append(2000)
    space.request(NAME, "run")
    record, status = ended(following, number)
    assert record["phase"] == "Succeeded", record["message"]
    assert calls.none_lost_since(before)["sent"] >= 100
    assert record["digest"] == status["active"]["digest"] != before_increment["active"]["digest"]
    assert status["update"]["window"]["from"] == before_increment["champion"]["watermark"]
    assert status["update"]["parent"]["digest"] == before_increment["champion"]["digest"]
    _alias_becomes(space, "champion", record["version"])


def test_status_and_events_tell_the_story(space: Space) -> None:
    status = space.status(NAME)
    update = status["update"]
    assert phases(update) == PHASES
    heads, row = (line.split() for line in space.kubectl("get", "mu", NAME).splitlines())
    shown = dict(zip(heads, row, strict=False))
    assert heads == ["NAME", "READY", "PHASE", "ACTIVE", "CANDIDATE", "FRESHNESS", "AGE"]
    assert (shown["READY"], shown["ACTIVE"]) == ("True", status["active"]["version"])
    told = iter(until(lambda: _reasons(space, update["startedAt"]), 30, "events"))
    missing = [reason for reason in REASONS if reason not in told]
    assert not missing, f"not told, or not in this order: {missing}"


def test_status_links_to_the_report_of_the_verdict(space: Space) -> None:
    status = space.status(NAME)
    address, record = status["update"]["evaluation"]["report"], status["history"][-1]
    assert record["report"] == address
    with mlflow(space.tools) as registry:
        page = registry.report(address)
    assert f"<title>{space.name}, version {record['version']}: Pass</title>" in page
    assert "against champion" in page


def test_previous_revision_is_kept(space: Space, before_increment: dict[str, Any]) -> None:
    previous = space.status(NAME)["previous"]
    assert previous["digest"] == before_increment["active"]["digest"]
    space.wait_for(f"deployment/{previous['deployment']}", "jsonpath={.status.readyReplicas}=1", 60)


def test_request_goes_back_to_previous_revision(
    space: Space, calls: Caller, following: Following, before_increment: dict[str, Any]
) -> None:
    left, number, before = space.status(NAME)["active"], last_number(space) + 1, calls.counters()
    text = space.request(NAME, "rollback")
    record, status = ended(following, number)
    calls.none_lost_since(before)
    assert (status["lastRequest"]["text"], status["lastRequest"]["outcome"]) == (text, "Accepted")
    assert (record["kind"], record["phase"]) == ("Rollback", "Succeeded"), record["message"]
    assert status["active"]["digest"] == before_increment["active"]["digest"]
    assert status["champion"] == before_increment["champion"]
    assert left["digest"] in [entry["digest"] for entry in status["quarantine"]]
    _alias_becomes(space, "champion", before_increment["champion"]["version"])


@pytest.fixture(scope="module")
def broken(space: Space, calls: Caller, model: None) -> dict[str, Any]:
    """The end of an update whose candidate breaks in service, and what was seen meanwhile."""
    before, number, counted = space.status(NAME), last_number(space) + 1, calls.counters()
    space.apply(model_update(space.name, serving=SERVING, training=FRAGILE))
    space.request(NAME, "retrain")
    with space.follow(NAME) as following:
        record, status = ended(following, number)
    space.apply(model_update(space.name, serving=SERVING))
    seen = {"record": record, "before": before, "after": status, "counted": calls.since(counted)}
    return seen | {"later": calls.since(calls.counters()), "summary": calls.stop()}


def test_candidate_that_breaks_in_service_is_rolled_back(space: Space, broken: dict[str, Any]) -> None:
    record, before, after = broken["record"], broken["before"], broken["after"]
    assert (record["phase"], record["verdict"]) == ("RolledBack", "Pass"), record["message"]
    assert after["active"]["digest"] == before["active"]["digest"]
    assert after["champion"] == before["champion"]
    assert record["digest"] in [entry["digest"] for entry in after["quarantine"]]
    with mlflow(space.tools) as registry:
        assert registry.aliases(space.name)["champion"] == before["champion"]["version"]


def test_traffic_is_back_soon_after_the_failed_check(broken: dict[str, Any]) -> None:
    record, summary = broken["record"], broken["summary"]
    failed = next(phase for phase in record["phases"] if phase["phase"] == "RollingBack")
    versions = {version["digest"]: version for version in summary["versions"]}
    came_back = summary["startTime"] + versions[broken["before"]["active"]["digest"]]["spans"][-1][0]
    ends = [came_back, versions[record["digest"]]["lastTime"], *(end for _, end, _ in summary["failedSpans"])]
    assert max(ends) - _seconds(failed["startedAt"]) <= ROLLBACK_LIMIT
    assert broken["later"]["failed"] == 0


def test_no_answer_is_mixed_or_wrong(broken: dict[str, Any]) -> None:
    summary = broken["summary"]
    assert (summary["total"]["mixed"], summary["total"]["wrong"]) == (0, 0)
    assert sum(mode["checked"] for mode in summary["modes"].values()) > 0
    for fixed in summary["fixedInputs"]:
        answers = {tuple(round(value, 3) for value in _floats(text)) for text in fixed["answers"]}
        assert len(answers) <= 2, f"{fixed['digest']} answers input {fixed['input']} in several ways: {answers}"


def test_rollback_without_previous_revision_is_refused(space: Space, broken: dict[str, Any]) -> None:
    text = space.request(NAME, "rollback")
    with space.follow(NAME) as following:
        answer = following.wait(
            lambda state: state["status"].get("lastRequest", {}).get("text") == text, 60, "answer to the request"
        )["status"]["lastRequest"]
    assert answer["outcome"] == "Refused"
    assert "no previous revision" in answer["message"]


def _golden(space: Space, version: str) -> dict[str, Any]:
    with mlflow(space.tools) as registry:
        return registry.golden(space.name, version)


def _alias_becomes(space: Space, alias: str, version: str) -> None:
    """The operator writes aliases after the update has ended."""
    with mlflow(space.tools) as registry:
        until(lambda: registry.aliases(space.name).get(alias) == version, 60, f"{alias} is version {version}")


def _reasons(space: Space, since: str) -> list[str]:
    """Reasons of the ModelUpdate's events in their order; empty until the last expected one is posted."""
    found = [event for event in space.list("events.v1.events.k8s.io") if event["regarding"]["name"] == NAME]
    told = sorted((event["eventTime"], event["reason"]) for event in found if event["eventTime"] >= since)
    reasons = [reason for _, reason in told]
    return reasons if REASONS[-1] in reasons else []


def _floats(text: str) -> list[float]:
    return [float(part) for part in text.strip("[]").split(",")]


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
