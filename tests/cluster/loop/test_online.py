"""Strategy ``Online`` for real: a trainer that publishes to pods which answer callers all the time, as one story."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from loop.appending import Stream
from loop.callers import Caller
from loop.following import Following
from loop.installing import LOG_URL
from loop.manifests import NAME
from loop.registry import mlflow
from loop.serving import condition, ended, last_number, serve_first, served
from loop.space import Space
from loop.waiting import until

REPLICAS = 2
STORE = {"url": LOG_URL.removesuffix("0") + "1"}
#: events after which an anchor is made, and on which it is judged
ANCHOR, JUDGED = 600, 300
#: what a test may wait for that takes the trainer a second
LIMIT = 120


@pytest.fixture(scope="module")
def calling(space: Space, stream: Stream) -> Iterator[Caller]:
    """The first model serves and is trained further; somebody calls it."""
    online = {"store": STORE, "anchors": {"every": "1h", "events": ANCHOR}, "test": {"alpha": 0.05, "margin": 0.002}}
    serve_first(
        space,
        stream,
        strategy="Online",
        trigger=None,
        online=online,
        gate={"margin": 0.2, "minEvents": JUDGED, "onInconclusive": None},
        serving={"replicas": REPLICAS},
        rollout={"healthChecks": [{"name": "ready", "readyPercent": 100}]},
    )
    caller = Caller(space, {})
    yield caller
    caller.stop()


def publishing(space: Space) -> bool:
    return condition(space.status(NAME), "OnlineTraining").get("status") == "True"


def told(space: Space) -> dict[str, Any]:
    found: dict[str, Any] = space.status(NAME).get("online") or {}
    return found


def at_head(space: Space) -> bool:
    """All events are trained on, and every replica answers with the newest sequence."""
    online = told(space)
    sequences = {each["sequence"] for each in online.get("replicas") or []}
    return online.get("lagEvents") == 0 and sequences == {online.get("sequence")} and publishing(space)


def at_anchor(space: Space) -> bool:
    """Every replica answers with an anchor and no delta."""
    replicas = told(space).get("replicas") or []
    return len(replicas) == REPLICAS and all(each["sequence"].endswith(".0") for each in replicas)


def test_events_reach_every_replica(space: Space, stream: Stream, calling: Caller) -> None:
    until(lambda: publishing(space), LIMIT, "the online trainer to publish")
    before, pods = calling.counters(), served(space)
    stream.append(200)
    until(lambda: at_head(space), LIMIT, "every replica at the head")
    replicas = told(space)["replicas"]
    assert len(replicas) == REPLICAS
    assert len({each["root"] for each in replicas}) == 1
    assert served(space) == pods, "nothing was restarted or switched"
    calling.none_lost_since(before)


def test_an_anchor_that_passes_is_champion_and_disturbs_nobody(
    space: Space, stream: Stream, calling: Caller, following: Following
) -> None:
    before, pods, number = calling.counters(), served(space), last_number(space) + 1
    stream.append(ANCHOR)
    until(lambda: told(space).get("pending"), LIMIT, "an anchor")
    stream.append(JUDGED)
    record, status = ended(following, number)
    assert (record["kind"], record["phase"]) == ("Anchor", "Succeeded"), record["message"]
    assert status["champion"]["version"] == status["active"]["version"] == record["version"]
    with mlflow(space.tools) as registry:
        until(
            lambda: registry.aliases(space.name).get("champion") == record["version"], LIMIT, "the alias to be written"
        )
        tags = registry.version(space.name, record["version"])["tags"]
    assert (tags["viridian.verdict"], tags["viridian.kind"]) == ("Pass", "Anchor")
    until(lambda: {each["version"] for each in told(space)["replicas"]} == {record["version"]}, LIMIT, "a new epoch")
    assert served(space).pods == pods.pods
    calling.none_lost_since(before)


def test_a_trainer_that_is_lost_goes_on_and_serving_does_not_notice(
    space: Space, stream: Stream, calling: Caller
) -> None:
    before = calling.counters()
    space.kubectl("delete", "pod", "-l", "app.kubernetes.io/component=online-trainer", "--grace-period=0", "--force")
    stream.append(100)
    until(lambda: at_head(space), LIMIT, "every replica at the head again")
    calling.none_lost_since(before)


def test_pods_of_a_new_template_join_the_same_chain_before_they_take_over(
    space: Space, stream: Stream, calling: Caller, following: Following
) -> None:
    before, number, chain = calling.counters(), last_number(space) + 1, space.status(NAME)["active"]["chain"]
    change = [{"op": "replace", "path": "/spec/serving/template/spec/containers/0/env/1/value", "value": "2"}]
    space.kubectl("patch", "mu", NAME, "--type=json", "-p", json.dumps(change))
    stream.append(50)
    record, status = ended(following, number)
    assert (record["kind"], record["phase"]) == ("Redeploy", "Succeeded"), record["message"]
    assert status["active"]["chain"] == chain
    until(lambda: at_head(space), LIMIT, "every new replica at the head")
    calling.none_lost_since(before)


def test_a_person_brings_replicas_back_and_a_passing_anchor_lifts_it(
    space: Space, stream: Stream, calling: Caller, following: Following
) -> None:
    before, number = calling.counters(), last_number(space) + 1
    space.request(NAME, "rollback")
    until(lambda: at_anchor(space), LIMIT, "every replica at the champion")
    until(lambda: condition(space.status(NAME), "OnlineTraining").get("reason") == "Shadow", LIMIT, "the shadow")
    stream.append(ANCHOR)
    until(lambda: told(space).get("pending"), LIMIT, "an anchor of the shadow")
    stream.append(JUDGED)
    record, _ = ended(following, number)
    assert (record["kind"], record["phase"]) == ("Anchor", "Succeeded"), record["message"]
    until(lambda: publishing(space), LIMIT, "the trainer to publish again")
    calling.none_lost_since(before)


def test_after_a_rejected_anchor_every_replica_is_back_at_the_champion(
    space: Space, stream: Stream, calling: Caller, following: Following
) -> None:
    before = calling.counters()
    record, champion = _reject_an_anchor(space, stream, following)
    assert (record["kind"], record["phase"]) == ("Anchor", "Rejected"), record["message"]
    until(lambda: at_anchor(space), LIMIT, "every replica at the champion")
    until(lambda: condition(space.status(NAME), "OnlineTraining").get("reason") == "Shadow", LIMIT, "the shadow")
    assert {each["version"] for each in told(space)["replicas"]} == {champion["version"]}
    assert space.status(NAME)["champion"] == champion
    calling.none_lost_since(before)


def _reject_an_anchor(space: Space, stream: Stream, following: Following) -> tuple[dict[str, Any], dict[str, Any]]:
    """The record of an update that a person rejected, and who was champion; one that ended before is followed by
    another.
    """
    record: dict[str, Any] = {}
    champion: dict[str, Any] = {}
    for _ in range(3):
        stream.append(ANCHOR + 2 * JUDGED)
        state = following.wait(lambda state: state["status"]["phase"] == "Evaluating", LIMIT, "an anchor to be judged")
        number, champion = state["status"]["update"]["number"], state["status"]["champion"]
        space.request(NAME, f"reject/{number}")
        record, _ = ended(following, number)
        if record["phase"] == "Rejected":
            break
    return record, champion


def test_the_trainer_goes_when_nothing_more_is_to_be_trained(space: Space, calling: Caller) -> None:
    before = calling.counters()
    space.kubectl("patch", "mu", NAME, "--type=merge", "-p", '{"spec": {"suspend": true}}')
    space.wait_for(f"deployment/{NAME}-online", "delete", 60)
    assert condition(space.status(NAME), "Ready")["status"] == "True"
    calling.none_lost_since(before)
