"""Everything that can go wrong around one served model ends in a phase and reason of its own, and serves on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import datetime
from itertools import cycle
from typing import Any

import pytest

from loop.appending import Stream
from loop.containers import kill_container
from loop.following import Following, Object
from loop.manifests import (
    NAME,
    ending,
    holder,
    merged,
    model_update,
    server,
    sleeper,
    trainer,
    unbegun,
    variable,
)
from loop.nodes import advertised, schedulable
from loop.registry import Mlflow, mlflow
from loop.serving import condition, ended, entry, last_number, serve_first, served
from loop.space import Space
from loop.volumes import claim_name, lost_claim, shared_claim, unbound_claim
from viridian_demo.commands import CommandFailed

SERVING = {"replicas": 2}
NOWHERE = "http://127.0.0.1:9"
TINY = {"requests": {"memory": "48Mi"}, "limits": {"memory": "48Mi"}}
#: change of ``spec.training``, reason of the end, seconds until it, Jobs that are left to be looked at
TRAININGS = [
    pytest.param(
        {"template": trainer(picture="viridian.local/absent:dev"), "deadlines": {"queued": "15s"}},
        "ImagePull",
        25,
        0,
        id="image-cannot-be-pulled",
    ),
    pytest.param({"template": trainer(resources=TINY)}, "OutOfMemory", 60, 1, id="memory-limit-too-small"),
    pytest.param(
        {
            "template": trainer(
                env=[variable("MLFLOW_TRACKING_URI", NOWHERE), variable("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")]
            )
        },
        "RegistryUnreachable",
        120,
        2,
        id="registry-unreachable",
    ),
    pytest.param({"config": {"batchSize": 0}}, "BadConfiguration", 60, 1, id="bad-config"),
    pytest.param(
        {"template": sleeper(), "deadlines": {"running": "5s"}}, "DeadlineExceeded", 30, 0, id="longer-than-allowed"
    ),
    pytest.param(
        {"template": unbegun(), "deadlines": {"queued": "5s"}}, "QueueDeadlineExceeded", 25, 0, id="never-begins"
    ),
]
#: exit code, what the container gives as its reason, reason of the end
EXIT_CODES = [
    (1, "", "CodeFailed"),
    (3, "GateInputMissing", "GateInputMissing"),
    (64, "BadUsage", "BadUsage"),
    (75, "", "Infrastructure"),
    (75, "LogUnreachable", "LogUnreachable"),
    (75, "PeerLost", "PeerLost"),
    (75, "Promoted", "Infrastructure"),
    (139, "BadData", "CodeFailed"),
]
#: an attempt that fails is the last one
ONCE = {"infrastructure": 0, "code": 0}
SLOT = "test.viridian.dev/slot"
ONE_SLOT = {"limits": {SLOT: "1"}}


@pytest.fixture(scope="module", autouse=True)
def model(space: Space, stream: Stream) -> None:
    serve_first(space, stream, serving=SERVING)


@pytest.fixture
def untouched(space: Space) -> Iterator[None]:
    """What serves is the same after the test as before: digest, pods, restarts, selector."""
    before = served(space)
    yield
    assert served(space) == before


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize(("training", "reason", "limit", "left"), TRAININGS)
def test_training_fails(
    space: Space, following: Following, training: dict[str, Any], reason: str, limit: float, left: int
) -> None:
    record = _run(space, following, training=training)
    assert (record["phase"], record["reason"]) == ("Failed", reason), record["message"]
    assert _duration(record) <= limit
    attempts = {job["metadata"]["name"] for job in _jobs(space, record["number"])}
    assert attempts == {f"{NAME}-train-{record['number']}-a{attempt + 1}" for attempt in range(left)}


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize(("code", "told", "reason"), EXIT_CODES)
def test_every_exit_code_has_its_reason(space: Space, following: Following, code: int, told: str, reason: str) -> None:
    record = _run(space, following, training={"template": ending(code, told), "retries": ONCE})
    assert (record["phase"], record["reason"]) == ("Failed", reason), record["message"]


@pytest.mark.usefixtures("untouched")
def test_an_evaluation_that_fails_is_named(space: Space, following: Following) -> None:
    record = _run(space, following, evaluation={"template": ending(3, "GateInputMissing")})
    assert (record["phase"], record["reason"]) == ("Failed", "GateInputMissing"), record["message"]
    assert f"{NAME}-eval-{record['number']}-a1" in record["message"]


def _evict(space: Space, pod: Object) -> None:
    name = pod["metadata"]["name"]
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": space.name}}
    path = f"/api/v1/namespaces/{space.name}/pods/{name}/eviction"
    space.tools.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(eviction))


def _kill(_: Space, pod: Object) -> None:
    assert kill_container(pod)


def _stop(space: Space, pod: Object) -> None:
    space.kubectl("delete", "pod", pod["metadata"]["name"], "--wait=false")


def _delete_job(space: Space, pod: Object) -> None:
    space.kubectl("delete", "job", pod["metadata"]["labels"]["batch.kubernetes.io/job-name"], "--wait=false")


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize(
    ("end", "reason"),
    [(_evict, "Evicted"), (_kill, "Killed"), (_stop, "Stopped"), (_delete_job, "JobDeleted")],
)
def test_a_training_that_is_ended_from_outside_is_no_failure_of_the_code(
    space: Space, following: Following, end: Callable[[Space, Object], None], reason: str
) -> None:
    record = _end_while_it_trains(space, following, lambda pod: end(space, pod), sleeper())
    assert (record["phase"], record["reason"]) == ("Failed", reason), record["message"]


@pytest.mark.usefixtures("untouched")
def test_a_training_gives_way_to_a_higher_priority(space: Space, following: Following) -> None:
    template = sleeper()
    template["spec"]["containers"][0]["resources"] = ONE_SLOT
    with advertised(space.tools, SLOT):
        urgent = holder(ONE_SLOT, priorityClassName="system-cluster-critical")
        record = _end_while_it_trains(space, following, lambda _: space.apply(urgent), template)
        space.kubectl("delete", "pod", "holder", "--grace-period=1")
    assert (record["phase"], record["reason"]) == ("Failed", "Preempted"), record["message"]


@pytest.mark.usefixtures("untouched")
def test_a_job_that_its_queue_suspends_over_and_over_has_an_end(space: Space, following: Following) -> None:
    """As Kueue does it: each time both other deadlines begin anew, and no budget is used up."""
    number = last_number(space) + 1
    deadlines = {"queued": "1m", "running": "30s", "total": "30s"}
    training = {"template": sleeper(), "deadlines": deadlines, "retries": ONCE}
    space.apply(model_update(space.name, serving=SERVING, training=training))
    space.request(NAME, "run")
    record: dict[str, Any] | None = None
    for phase, suspend in cycle([("Training", "true"), ("Queued", "false")]):
        state = following.wait(_in_phase(number, phase), 60, f"{phase}, or the end of the update")
        if record := entry(state["status"], number):
            break
        # Kubernetes fails some of the Jobs that are suspended, and another attempt follows
        attempt = state["status"]["update"].get("attempts", {}).get("number", 1)
        job = f"{NAME}-train-{number}-a{attempt}"
        with suppress(CommandFailed):  # the Job goes with the update
            space.kubectl("patch", "job", job, "--type=merge", "-p", f'{{"spec": {{"suspend": {suspend}}}}}')
    space.apply(model_update(space.name, serving=SERVING))
    assert (record["phase"], record["reason"]) == ("Failed", "TotalDeadlineExceeded"), record["message"]
    assert 30 <= _duration(record) <= 45


@pytest.mark.usefixtures("untouched")
def test_a_node_that_does_not_take_its_pod(space: Space, following: Following) -> None:
    template = trainer(resources={"requests": {"cpu": "10k"}})
    template["spec"]["nodeName"] = schedulable(space.tools)
    record = _run(space, following, training={"template": template, "retries": ONCE})
    assert (record["phase"], record["reason"]) == ("Failed", "NodeRefused"), record["message"]


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize(
    ("claim", "reason"),
    [
        pytest.param(lambda _: nullcontext("absent"), "VolumeMissing", id="absent"),
        pytest.param(unbound_claim, "VolumeUnbound", id="unbound"),
        pytest.param(lost_claim, "VolumeLost", id="lost"),
    ],
)
def test_a_claim_without_a_volume(
    space: Space, following: Following, claim: Callable[[Space], AbstractContextManager[str]], reason: str
) -> None:
    with claim(space) as name:
        checkpoint = {"persistentVolumeClaim": {"claimName": name}}
        record = _run(space, following, training={"checkpoint": checkpoint, "deadlines": {"queued": "10s"}})
    assert (record["phase"], record["reason"]) == ("Failed", reason), record["message"]
    assert _duration(record) <= 25


@pytest.mark.usefixtures("untouched")
def test_a_log_that_is_trimmed_while_the_training_waits(space: Space) -> None:
    """It waits for its claim, which comes after the entries of its window have gone."""
    stream, claim = Stream(space.tools, f"{space.name}-trimmed"), claim_name(space)
    stream.append(100)
    training = {"checkpoint": {"persistentVolumeClaim": {"claimName": claim}}}
    named = {"metadata": {"name": "trimmed", "namespace": space.name}}
    space.apply(merged(model_update(stream.name, training=training), named))
    with space.follow("trimmed") as following:
        following.wait(_says(f'"{claim}" not found'), 60, "the training waits for its claim")
        stream.trim()
        with shared_claim(space):
            record, _ = ended(following, 1)
    space.kubectl("delete", "modelupdate", "trimmed", "--wait=false")
    assert (record["phase"], record["reason"]) == ("Failed", "DataTrimmed"), record["message"]


@pytest.mark.usefixtures("untouched")
def test_broken_events_are_bad_data(space: Space, stream: Stream, following: Following) -> None:
    stream.append_broken(300)
    record = _run(space, following)
    assert (record["phase"], record["reason"]) == ("Failed", "BadData"), record["message"]


@pytest.mark.usefixtures("untouched")
def test_nothing_starts_while_the_event_log_is_unreachable(space: Space) -> None:
    unread = model_update(space.name, data={"source": {"redisStream": {"url": "redis://127.0.0.1:1/0"}}})
    space.apply(merged(unread, {"metadata": {"name": "unread"}}))
    with space.follow("unread") as following:
        state = following.wait(_says("event log cannot be read"), 60, "the message names the event log")
        assert "update" not in state["status"]
        assert space.list("jobs", "viridian.dev/model-update=unread") == []
    space.kubectl("delete", "modelupdate", "unread", "--wait=false")


@pytest.mark.usefixtures("untouched")
def test_pin_to_missing_version_stalls(space: Space, following: Following) -> None:
    number = last_number(space)
    with _pinned(space, "999"):
        state = following.wait(_stalled("PinFailed"), 60, "Stalled")
        assert "no version 999" in condition(state["status"], "Stalled")["message"]
    assert last_number(space) == number


@pytest.mark.usefixtures("untouched")
def test_pin_to_doctored_version_is_a_digest_mismatch(space: Space, following: Following) -> None:
    with mlflow(space.tools) as registry:
        version = _doctored(registry, space)
    with _pinned(space, version):
        _pin_fails(space, following, {"DigestMismatch"})


@pytest.mark.usefixtures("untouched")
def test_pin_to_version_without_bundle(space: Space, following: Following) -> None:
    with mlflow(space.tools) as registry:
        run, folder = registry.run_with_file("readme.txt", "no bundle")
        tags = {"viridian.digest": f"sha256:{'0' * 64}"}
        version = registry.register(space.name, folder, run, tags)
    with _pinned(space, version):
        _pin_fails(space, following, {"VersionMissing", "BadBundle"})


class TestServingTemplate:
    """A template whose server crashes as long as a ConfigMap says so: the tests follow each other."""

    @pytest.mark.usefixtures("untouched")
    def test_crashing_server_never_gets_traffic(self, space: Space, following: Following) -> None:
        number = last_number(space) + 1
        space.apply(_fault('{"crash_after_ready": 0}'), _faulty(space))
        record, status = ended(following, number)
        assert (record["kind"], record["phase"], record["reason"]) == ("Redeploy", "Failed", "CrashLoop")
        assert status["failedRevision"]
        assert record["digest"] not in [entry["digest"] for entry in status.get("quarantine", [])]
        following.wait(_stalled("RevisionFailed"), 30, "Stalled")

    @pytest.mark.usefixtures("untouched")
    def test_template_of_what_serves_is_no_update(self, space: Space, following: Following) -> None:
        number = last_number(space)
        space.apply(model_update(space.name, serving=SERVING))
        following.wait(_caught_up, 60, "the operator has seen the template")
        following.wait(lambda state: not _stalled("RevisionFailed")(state), 60, "it is not blocked")
        assert last_number(space) == number

    @pytest.mark.usefixtures("untouched")
    def test_failed_template_stays_blocked(self, space: Space, following: Following) -> None:
        number = last_number(space)
        space.apply(_faulty(space))
        following.wait(_stalled("RevisionFailed"), 60, "Stalled")
        assert last_number(space) == number

    def test_retry_after_the_cause_is_gone(self, space: Space, following: Following) -> None:
        number, before = last_number(space) + 1, served(space)
        space.kubectl("delete", "configmap", "fault")
        space.request(NAME, "retry")
        record, _ = ended(following, number)
        after = served(space)
        assert (record["kind"], record["phase"]) == ("Redeploy", "Succeeded"), record["message"]
        assert after.digest == before.digest
        assert after.pods.isdisjoint(before.pods)
        following.wait(lambda state: not condition(state["status"], "Stalled"), 60, "not Stalled")


def _run(space: Space, following: Following, **changes: dict[str, Any]) -> dict[str, Any]:
    """The record of an update with ``changes`` of the spec, which are taken back at its end."""
    number = last_number(space) + 1
    space.apply(model_update(space.name, serving=SERVING, **changes))
    space.request(NAME, "run")
    record, _ = ended(following, number)
    space.apply(model_update(space.name, serving=SERVING))
    return record


def _end_while_it_trains(
    space: Space, following: Following, end: Callable[[Object], None], template: Object
) -> dict[str, Any]:
    """The record of an update whose only attempt is brought to its end by ``end``, which gets its pod."""
    number = last_number(space) + 1
    training = {"template": template, "retries": {"infrastructure": 0, "code": 5}}
    space.apply(model_update(space.name, serving=SERVING, training=training))
    space.request(NAME, "run")
    following.wait(lambda state: state["status"]["phase"] == "Training", 60, "the training to run")
    (pod,) = space.list("pods", f"viridian.dev/task=train,viridian.dev/update={number}")
    end(pod)
    record, _ = ended(following, number)
    space.apply(model_update(space.name, serving=SERVING))
    return record


def _in_phase(number: int, phase: str) -> Callable[[Object], bool]:
    """Whether an update is in a phase, or has ended."""

    def holds(state: Object) -> bool:
        update = state["status"]["update"]
        return (update["number"], update["phase"]) == (number, phase) or entry(state["status"], number) is not None

    return holds


def _duration(record: dict[str, Any]) -> float:
    moments = [datetime.fromisoformat(record[name]).timestamp() for name in ("startedAt", "finishedAt")]
    return moments[1] - moments[0]


def _jobs(space: Space, number: int) -> list[dict[str, Any]]:
    return space.list("jobs", f"viridian.dev/model-update={NAME},viridian.dev/update={number}")


def _says(text: str) -> Callable[[dict[str, Any]], bool]:
    return lambda state: text in (state.get("status") or {}).get("message", "")


def _stalled(reason: str) -> Callable[[dict[str, Any]], bool]:
    return lambda state: _caught_up(state) and condition(state["status"], "Stalled").get("reason") == reason


def _caught_up(state: dict[str, Any]) -> bool:
    """Whether the operator has acted upon the newest spec."""
    generation: int = state["metadata"]["generation"]
    return generation == (state.get("status") or {}).get("observedGeneration")


@contextmanager
def _pinned(space: Space, version: str) -> Iterator[None]:
    pin = {"version": int(version), "reason": "test of what happens then"}
    space.apply(model_update(space.name, serving=SERVING, pin=pin))
    yield
    space.apply(model_update(space.name, serving=SERVING))


def _pin_fails(space: Space, following: Following, reasons: set[str]) -> None:
    state = following.wait(_stalled("PinFailed"), 180, "Stalled")
    record = state["status"]["history"][-1]
    assert (record["kind"], record["phase"]) == ("Pin", "Failed")
    assert record["reason"] in reasons, record["message"]


def _doctored(registry: Mlflow, space: Space) -> str:
    """A copy of what serves whose tag names another digest."""
    genuine = registry.version(space.name, served(space).version)
    tags = {key: value for key, value in genuine["tags"].items() if key != "viridian.update"}
    tags["viridian.digest"] = f"sha256:{'1' * 64}"
    return registry.register(space.name, genuine["source"], genuine["run_id"], tags)


def _faulty(space: Space) -> dict[str, Any]:
    reference = {"configMapKeyRef": {"name": "fault", "key": "fault", "optional": True}}
    template = server({"name": "VIRIDIAN_FAULT", "valueFrom": reference})
    return model_update(space.name, serving={**SERVING, "template": template})


def _fault(text: str) -> dict[str, Any]:
    json.loads(text)
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "fault"}, "data": {"fault": text}}
