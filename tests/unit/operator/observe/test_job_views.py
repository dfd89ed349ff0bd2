"""What a Job and its pods mean; made by our own builders, ended as the cluster ends them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from applying_cluster import OWNER, WINDOW, spec, update

from viridian_operator.act.manifests.job import job
from viridian_operator.api.spec import ModelUpdateSpec
from viridian_operator.api.version import ModelRef
from viridian_operator.decide.decision import CreateJob
from viridian_operator.decide.observation import JobState, JobView, PodTrouble
from viridian_operator.observe.jobs import INDEX, JOB_NAME, job_view

GANG = spec(training={"nodes": 2, "template": {"spec": {"containers": [{"name": "trainer", "image": "t"}]}}})


def created(chosen: ModelUpdateSpec | None = None, **status: Any) -> dict[str, Any]:
    action = CreateJob("train", update(), WINDOW, ModelRef(version="1", digest="sha256:p"))
    return job(chosen or spec(), OWNER, action) | {"status": status}


def ended(kind: str, reason: str = "", message: str = "") -> list[dict[str, Any]]:
    return [{"type": kind, "status": "True", "reason": reason, "message": message}]


def pod(state: dict[str, Any], *, index: int = 0, phase: str = "Running", **status: Any) -> dict[str, Any]:
    meta = {
        "name": f"p{index}",
        "labels": {JOB_NAME: "ctr-train-7-a1"},
        "annotations": {INDEX: str(index)},
    }
    containers = [{"name": "sidecar", "state": {"running": {}}}, {"name": "trainer", "state": state}]
    return {"metadata": meta, "status": {"phase": phase, "containerStatuses": containers, **status}}


def exited(code: int, message: str = "", at: str = "2026-01-01T00:00:02Z", reason: str = "Error") -> dict[str, Any]:
    return {
        "terminated": {
            "exitCode": code,
            "message": message,
            "reason": reason,
            "startedAt": "2026-01-01T00:00:01Z",
            "finishedAt": at,
        }
    }


def view(manifest: dict[str, Any], *pods: dict[str, Any]) -> JobView:
    found = job_view(manifest, pods)
    assert found is not None
    return found


def test_what_was_asked_for_is_read_back() -> None:
    found = view(created())
    assert (found.task, found.number, found.attempt) == ("train", 7, 1)
    assert found.window == WINDOW
    assert found.parent == "sha256:p"
    assert found.state is JobState.PENDING
    assert job_view({"metadata": {"name": "x", "labels": {}}}, ()) is None


def test_states_before_the_end() -> None:
    running = {"running": {"startedAt": "2026-01-01T00:00:01Z"}}
    suspended = created()
    suspended["spec"]["suspend"] = True
    assert view(suspended).state is JobState.SUSPENDED
    assert view(created(), pod({"waiting": {}}, phase="Pending")).state is JobState.PENDING
    found = view(created(), pod(running))
    assert found.state is JobState.RUNNING
    assert found.started_at is not None
    # not terminal yet: pods may still run
    early = created(conditions=ended("FailureTarget"))
    assert view(early, pod(running)).state is JobState.RUNNING
    assert view(created(GANG), pod(running)).state is JobState.PENDING
    assert view(created(GANG), pod(running), pod(running, index=1)).state is JobState.RUNNING


def test_a_pending_job_says_what_its_pod_waits_for() -> None:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no GPU"}
    found = view(created(), pod({"waiting": {}}, phase="Pending", conditions=[condition]))
    assert (found.trouble, found.message) == (PodTrouble.UNSCHEDULABLE, "no GPU")
    found = view(created(), pod({"waiting": {"reason": "ImagePullBackOff"}}, phase="Pending"))
    assert found.trouble is PodTrouble.IMAGE_PULL


def test_a_complete_job_gives_the_result_of_rank_0() -> None:
    result = {"task": "Train", "version": "4"}
    found = view(
        created(GANG, conditions=ended("Complete")),
        pod(exited(0, "other"), index=1, phase="Succeeded"),
        pod(exited(0, json.dumps(result)), phase="Succeeded"),
    )
    assert (found.state, found.exit_code, found.result) == (JobState.COMPLETE, 0, result)


def test_a_failed_job_gives_exit_code_and_error() -> None:
    error = {"task": "Train", "error": {"reason": "BadData", "message": "fix the label"}}
    failed = created(conditions=ended("Failed", "PodFailurePolicy"))
    found = view(failed, pod(exited(65, json.dumps(error)), phase="Failed"))
    assert (found.state, found.exit_code, found.result) == (JobState.FAILED, 65, error)
    assert "fix the label" in found.message
    assert not found.disrupted
    found = view(failed, pod(exited(1, "Traceback\nKeyError: x"), phase="Failed"))
    assert found.exit_code == 1
    assert "KeyError: x" in found.message


def deleted(found: dict[str, Any]) -> dict[str, Any]:
    return {**found, "metadata": {**found["metadata"], "deletionTimestamp": "2026-01-01T00:00:03Z"}}


STOPPED = "Container trainer for pod recsys/p failed with exit code 143 matching FailJob rule at index 1"


SUSPENDED = {"type": "Suspended", "status": "True"}
RESUMED = {"type": "Suspended", "status": "False", "reason": "JobResumed"}


def failing(at: str) -> dict[str, Any]:
    return {"type": "FailureTarget", "status": "True", "lastTransitionTime": f"2026-01-01T00:{at}Z"}


def pod_of(created_at: str, *, deleted: bool) -> dict[str, Any]:
    found = pod(exited(143), phase="Failed")
    found["metadata"]["creationTimestamp"] = f"2026-01-01T00:{created_at}Z"
    if deleted:
        found["metadata"]["deletionTimestamp"] = "2026-01-01T00:02:00Z"
    return found


@pytest.mark.parametrize(
    ("pods", "disruption"),
    [
        ([deleted(pod(exited(143), phase="Failed"))], "Suspended"),
        # an image without a handler for SIGTERM
        ([deleted(pod(exited(1), phase="Failed"))], "Suspended"),
        ([], "Suspended"),
        # it had failed by itself before it was suspended
        ([pod(exited(1), phase="Failed")], None),
        ([deleted(pod(exited(65), phase="Failed"))], None),
    ],
)
def test_a_job_that_fails_because_it_is_suspended(pods: list[dict[str, Any]], disruption: str | None) -> None:
    """The Job controller fails a suspended Job if it sees a pod of it that ended, which depends on timing."""
    failed = created(conditions=ended("Failed", "PodFailurePolicy", STOPPED))
    failed["spec"]["suspend"] = True
    found = view(failed, *pods)
    assert (found.state, found.disrupted, found.disruption) == (JobState.FAILED, bool(disruption), disruption)


@pytest.mark.parametrize(
    ("conditions", "pods", "disruption"),
    [
        # failed while it was suspended, resumed before anybody looked
        ([SUSPENDED], [], "Suspended"),
        # what was stopped ended after the Job was resumed
        ([RESUMED], [pod_of("00:59", deleted=True)], "Suspended"),
        ([RESUMED, failing("01:09")], [], "Suspended"),
        # what runs since then failed, or was stopped
        ([RESUMED], [pod_of("01:01", deleted=False)], None),
        ([RESUMED], [pod_of("01:01", deleted=True)], None),
        ([RESUMED, failing("05:00")], [], None),
        # it was never suspended
        ([], [pod_of("00:59", deleted=True)], None),
        ([failing("01:09")], [], None),
    ],
)
def test_a_job_that_is_resumed_while_its_stopped_pods_end(
    conditions: list[dict[str, Any]], pods: list[dict[str, Any]], disruption: str | None
) -> None:
    """The time of a Job begins anew when it is resumed."""
    failed = created(
        conditions=[*conditions, *ended("Failed", "PodFailurePolicy", STOPPED)], startTime="2026-01-01T00:01:00Z"
    )
    found = view(failed, *pods)
    assert (found.state, found.disrupted, found.disruption) == (JobState.FAILED, bool(disruption), disruption)


def test_the_disruption_of_the_cause_counts_not_of_its_victims() -> None:
    preempted = [{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}]
    pods = (gang_pod(0, 143, 5, conditions=EVICTED), gang_pod(1, 143, 1, conditions=preempted))
    for order in (pods, pods[::-1]):
        found = view(created(GANG, conditions=ended("Failed", "PodFailurePolicy")), *order)
        assert (found.disrupted, found.disruption) == (True, "Preempted")


def test_the_exit_code_outlives_the_pod() -> None:
    text = "Container trainer for pod recsys/p failed with exit code 78 matching FailJob rule at index 1"
    found = view(created(conditions=ended("Failed", "PodFailurePolicy", text)))
    assert (found.exit_code, found.disrupted) == (78, False)


def test_in_a_gang_the_telling_exit_counts_not_the_victims() -> None:
    found = view(
        created(GANG, conditions=ended("Failed", "PodFailurePolicy")),
        pod(exited(1, at="2026-01-01T00:00:01Z"), phase="Failed"),
        pod(exited(65, at="2026-01-01T00:00:09Z"), index=1, phase="Failed"),
    )
    assert found.exit_code == 65
    found = view(
        created(GANG, conditions=ended("Failed", "PodFailurePolicy")),
        pod(exited(143, at="2026-01-01T00:00:09Z"), phase="Failed"),
        pod(exited(2, at="2026-01-01T00:00:01Z"), index=1, phase="Failed"),
    )
    assert found.exit_code == 2


def test_memory_and_disruption_are_told_apart() -> None:
    failed = created(conditions=ended("Failed", "PodFailurePolicy"))
    found = view(failed, pod(exited(137, reason="OOMKilled"), phase="Failed"))
    assert (found.trouble, found.disrupted) == (PodTrouble.OUT_OF_MEMORY, False)
    target = {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler", "message": "preempted"}
    found = view(failed, pod(exited(143), phase="Failed", conditions=[target]))
    assert (found.trouble, found.disrupted, found.disruption) == (PodTrouble.INFRASTRUCTURE, True, "Preempted")
    # while it still has to end the pod tells already; once it is gone, the Job does not say which disruption it was
    found = view(created(), pod({"running": {}}, conditions=[target]))
    assert (found.state, found.disrupted, found.disruption) == (JobState.RUNNING, False, "Preempted")
    text = "Pod recsys/p has condition DisruptionTarget matching FailJob rule at index 0"
    found = view(created(conditions=ended("Failed", "PodFailurePolicy", text)))
    assert (found.disrupted, found.disruption) == (True, None)
    # the pod is gone and nothing tells how it ended
    assert view(created(conditions=ended("Failed", "BackoffLimitExceeded"))).disrupted
    assert not view(created(conditions=ended("Failed", "DeadlineExceeded"))).disrupted
    assert not view(failed, pod(exited(137), phase="Failed")).disrupted


LOST = json.dumps({"task": "Train", "error": {"reason": "PeerLost", "message": "another process is gone"}})
EVICTED = [{"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI", "message": "drained"}]


def gang_pod(index: int, code: int, second: int, message: str = "", **status: Any) -> dict[str, Any]:
    return pod(exited(code, message, at=f"2026-01-01T00:00:0{second}Z"), index=index, phase="Failed", **status)


@pytest.mark.parametrize(
    ("pods", "code", "disrupted"),
    [
        # a crash counts, though the peer that it left behind ended a moment sooner, and as if it were temporary
        ([gang_pod(0, 75, 1, LOST), gang_pod(1, 1, 2)], 1, False),
        # a kill counts, not the crash that broken connections are to the other image, in the same second
        ([gang_pod(0, 1, 3), gang_pod(1, 137, 3)], 137, False),
        # a crash counts, not the stop by the Job controller that followed in the same second
        ([gang_pod(0, 143, 3), gang_pod(1, 1, 3)], 1, False),
        # a pod that was told to stop first took the other with it
        ([gang_pod(0, 1, 4), gang_pod(1, 143, 3)], 143, False),
        ([gang_pod(0, 1, 4), gang_pod(1, 143, 3, conditions=EVICTED)], 143, True),
        # what another attempt would not change counts whatever else happened
        ([gang_pod(0, 143, 1, conditions=EVICTED), gang_pod(1, 65, 2)], 65, False),
        # a node that is drained while the others fail by themselves is not the cause
        ([gang_pod(0, 1, 1), gang_pod(1, 143, 5, conditions=EVICTED)], 1, False),
        # nobody knows of a cause: the pod that was it is gone
        ([gang_pod(0, 75, 1, LOST), gang_pod(1, 75, 1, LOST)], 75, False),
        ([gang_pod(0, 75, 1, LOST), gang_pod(1, 143, 2, conditions=EVICTED)], 143, True),
    ],
)
def test_the_cause_counts_not_what_it_did_to_the_others(pods: list[dict[str, Any]], code: int, disrupted: bool) -> None:
    for order in (pods, pods[::-1]):
        found = view(created(GANG, conditions=ended("Failed", "PodFailurePolicy", "a pod failed")), *order)
        assert (found.exit_code, found.disrupted) == (code, disrupted)


def test_a_disrupted_pod_that_is_gone_is_named_by_the_job() -> None:
    text = "Pod recsys/p1 has condition DisruptionTarget matching FailJob rule at index 0"
    found = view(created(GANG, conditions=ended("Failed", "PodFailurePolicy", text)), gang_pod(0, 1, 1))
    assert found.disrupted


def test_words_of_other_ranks_are_no_result() -> None:
    rank_1 = pod(exited(0, json.dumps({"task": "Train", "rank": 1})), index=1, phase="Succeeded")
    assert view(created(GANG, conditions=ended("Complete")), rank_1).result is None
    result = {"task": "Train", "version": "4"}
    rank_0 = pod(exited(0, json.dumps(result)), phase="Succeeded")
    assert view(created(GANG, conditions=ended("Complete")), rank_1, rank_0).result == result
    # rank 0 has registered a version, but one of the others failed after it: no result
    failed = view(created(GANG, conditions=ended("Failed", "PodFailurePolicy")), rank_0, gang_pod(1, 1, 3))
    assert (failed.state, failed.exit_code, failed.result) == (JobState.FAILED, 1, None)
