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
from loop.manifests import NAME, server, variable
from loop.registry import mlflow
from loop.serving import condition, ended, last_number, serve_first, served
from loop.space import Space
from loop.waiting import until
from viridian_demo.commands import CommandFailed

REPLICAS = 2
STORE = {"url": LOG_URL.removesuffix("0") + "1"}
#: events after which an anchor is made, and on which it is judged
ANCHOR, JUDGED = 600, 300
#: what a test may wait for that takes the trainer a second
LIMIT = 120
#: seconds between two checks of a pod's memory, and after its start until a bit of it flips
CHECK, FLIP = "2", 30
#: events between two bets of the sequential test, and as the world was before a poisoned stretch
BET, CLEAN = 1000, 600


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
        serving={"replicas": REPLICAS, "template": server(variable("VIRIDIAN_CHECK_SECONDS", CHECK))},
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
    flip = variable("VIRIDIAN_FAULT", json.dumps({"flip_bit_after": FLIP}))
    change = [{"op": "add", "path": "/spec/serving/template/spec/containers/0/env/-", "value": flip}]
    space.kubectl("patch", "mu", NAME, "--type=json", "-p", json.dumps(change))
    stream.append(50)
    record, status = ended(following, number)
    assert (record["kind"], record["phase"]) == ("Redeploy", "Succeeded"), record["message"]
    assert status["active"]["chain"] == chain
    until(lambda: at_head(space), LIMIT, "every new replica at the head")
    calling.none_lost_since(before)


def test_a_bit_that_flips_in_a_pods_memory_is_repaired_by_its_block(space: Space, calling: Caller) -> None:
    """The pods of the new template do that to themselves."""
    before, pods = calling.counters(), served(space)
    until(lambda: all(each["repaired"] for each in replicas_of(space)), FLIP + LIMIT, "every replica to repair itself")
    found = replicas_of(space)
    assert [(each["repaired"], each["damage"]) for each in found] == [(1, "Rows")] * REPLICAS
    for each in found:
        said = consistency(space, each["pod"])
        assert (said["found"], said["last"]["blocks"]) == (1, 1), said
        assert said["bytes"] > 0, "it was read again from the store"
    assert served(space) == pods, "no pod was replaced"
    calling.none_lost_since(before)


def replicas_of(space: Space) -> list[dict[str, Any]]:
    """What status says of the replicas once it says something of each."""
    found = told(space).get("replicas") or []
    return found if len(found) == REPLICAS else [{"repaired": 0}]


def consistency(space: Space, pod: str) -> dict[str, Any]:
    """What a pod itself says of the checks of its memory."""
    found: dict[str, Any] = ask(space, pod, "identity")["consistency"]
    return found


def ask(space: Space, pod: str, what: str) -> Any:
    """What a pod answers through the API server."""
    path = f"/api/v1/namespaces/{space.name}/pods/{pod}:8080/proxy/viridian/v1/{what}"
    return json.loads(space.tools.kubectl("get", "--raw", path))


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


def test_what_a_poisoned_stretch_taught_is_taken_back_by_the_trainer_itself(
    space: Space, stream: Stream, calling: Caller, following: Following
) -> None:
    """By its sequential test when the world is back as it was, soonest right after a bet; or before, by the hygiene of
    deltas, if the poison moved the answers too far.
    """
    publish_again(space, stream)
    judge_no_more(space, stream, following)
    until(lambda: publishing(space) and trained_all(space, stream), LIMIT, "all events so far trained on")
    before, updates, reverts = calling.counters(), last_number(space), told(space)["reverts"]
    champion = space.status(NAME)["champion"]
    stream.append(BET + -trainer(space)["test"]["events"] % BET, flipped=True)
    until(lambda: trained_all(space, stream), LIMIT, "the poison trained on")
    stream.append(CLEAN)
    until(lambda: told(space)["reverts"] > reverts, LIMIT, "the revert")
    until(lambda: at_anchor(space), LIMIT, "every replica at the champion")
    assert condition(space.status(NAME), "OnlineTraining")["reason"] == "Shadow"
    assert last_number(space) == updates, "no gate was asked"
    assert told(space)["error"], "people are told why"
    assert {each["version"] for each in told(space)["replicas"]} == {champion["version"]}
    assert space.status(NAME)["champion"] == champion
    calling.none_lost_since(before)


def publish_again(space: Space, stream: Stream) -> None:
    """Give a shadow the events for an anchor that passes, if there is one."""

    def publishes() -> bool:
        if not publishing(space):
            stream.append(JUDGED)
        return publishing(space)

    until(publishes, LIMIT, "the trainer to publish again")


def judge_no_more(space: Space, stream: Stream, following: Following) -> None:
    """No more anchors: one made within a poisoned stretch would be judged on the rest of it.

    The changed spec replaces the trainer, which goes on where it was. An anchor that was made before gets the events
    that it is judged on, or it would be judged on the poison.
    """

    def publishes(state: dict[str, Any]) -> bool:
        return condition(state.get("status") or {}, "OnlineTraining").get("status") == "True"

    patch = json.dumps({"spec": {"online": {"anchors": {"events": 1_000_000}}}})
    space.kubectl("patch", "mu", NAME, "--type=merge", "-p", patch)
    following.wait(lambda state: not publishes(state), LIMIT, "the end of the old trainer")
    following.wait(publishes, LIMIT, "the new trainer")

    def judged() -> bool:
        status = space.status(NAME)
        newest = (trainer(space).get("anchor") or {}).get("digest")
        if not running(status) and newest == status["champion"]["digest"]:
            return True
        if not running(status):
            stream.append(JUDGED)
        return False

    until(judged, LIMIT, "the last anchor to be judged")


def trainer(space: Space) -> dict[str, Any]:
    """What the online trainer itself says; nothing while it does not answer."""
    pods = space.list("pods", "app.kubernetes.io/component=online-trainer")
    names = [pod["metadata"]["name"] for pod in pods if "deletionTimestamp" not in pod["metadata"]]
    try:
        found: dict[str, Any] = ask(space, names[0], "online") if names else {}
    except CommandFailed:  # it starts
        return {}
    return found


def trained_all(space: Space, stream: Stream) -> bool:
    """Whether it has trained on every event; an offset is a number of entries, and the id of the last."""
    offsets = trainer(space).get("trainedTo") or {}
    return sum(int(offset.partition("@")[0]) for offset in offsets.values()) == stream.count


def running(status: dict[str, Any]) -> bool:
    """Whether an update runs."""
    return not (status.get("update") or {}).get("finishedAt")


def test_the_trainer_goes_when_nothing_more_is_to_be_trained(space: Space, calling: Caller) -> None:
    before = calling.counters()
    space.kubectl("patch", "mu", NAME, "--type=merge", "-p", '{"spec": {"suspend": true}}')
    space.wait_for(f"deployment/{NAME}-online", "delete", 60)
    assert condition(space.status(NAME), "Ready")["status"] == "True"
    calling.none_lost_since(before)
