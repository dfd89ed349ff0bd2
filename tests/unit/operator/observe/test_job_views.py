"""What a Job and its pods mean; made by our own builders, ended as the cluster ends them."""

from __future__ import annotations

import json
from typing import Any

from applying_cluster import OWNER, WINDOW, spec, update

from viridian_operator.act.manifests.job import job
from viridian_operator.api.spec import ModelUpdateSpec
from viridian_operator.api.status import ModelRef
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
    assert (found.trouble, found.disrupted) == (PodTrouble.INFRASTRUCTURE, True)
    text = "Pod recsys/p has condition DisruptionTarget matching FailJob rule at index 0"
    assert view(created(conditions=ended("Failed", "PodFailurePolicy", text))).disrupted
    # the pod is gone and nothing tells how it ended
    assert view(created(conditions=ended("Failed", "BackoffLimitExceeded"))).disrupted
    assert not view(created(conditions=ended("Failed", "DeadlineExceeded"))).disrupted
    assert not view(failed, pod(exited(137), phase="Failed")).disrupted
