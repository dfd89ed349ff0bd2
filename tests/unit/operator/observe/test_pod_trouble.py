"""What the status of a pod means."""

from __future__ import annotations

import json
from typing import Any

import pytest

from viridian_operator.api import names
from viridian_operator.decide.observation import PodTrouble
from viridian_operator.observe.pods import address_of, pod_view
from viridian_operator.observe.termination import parse_message
from viridian_operator.observe.troubles import disruption_of


def message(reason: str) -> str:
    return json.dumps({"error": {"reason": reason, "message": "what to change"}})


def ended(code: int, text: str = "", reason: str = "Error") -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "reason": reason, "message": text}}


def waiting(reason: str, text: str = "", before: dict[str, Any] | None = None) -> dict[str, Any]:
    status: dict[str, Any] = {"state": {"waiting": {"reason": reason, "message": text}}}
    return status | ({"lastState": before} if before else {})


def pod(*containers: dict[str, Any], **status: Any) -> dict[str, Any]:
    meta = {"name": "ctr-1", "labels": {names.REVISION: "hash1"}}
    statuses = [{"name": f"c{index}", **each} for index, each in enumerate(containers)]
    return {"metadata": meta, "spec": {"nodeName": "n1"}, "status": {"containerStatuses": statuses, **status}}


def unplaced(why: str) -> dict[str, Any]:
    """A pod that no node takes, as the scheduler says it."""
    text = f"0/3 nodes are available: {why}. preemption: 0/3 nodes are available: 3 not helpful for scheduling."
    return pod(conditions=[{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": text}])


def target(reason: str) -> list[dict[str, Any]]:
    return [{"type": "DisruptionTarget", "status": "True", "reason": reason, "message": "why"}]


RUNNING = {"state": {"running": {}}}
BACK_OFF = "CrashLoopBackOff"


@pytest.mark.parametrize(
    ("observed", "trouble", "text"),
    [
        (pod(RUNNING), None, ""),
        (pod({**RUNNING, "lastState": ended(137, reason="OOMKilled"), "restartCount": 2}), None, ""),
        (pod(waiting("ContainerCreating")), None, ""),
        (pod(waiting("ErrImagePull", "no such image")), PodTrouble.IMAGE_PULL, "no such image"),
        (pod(waiting("InvalidImageName")), PodTrouble.IMAGE_PULL, "InvalidImageName"),
        (pod(waiting("CreateContainerConfigError", "no secret")), PodTrouble.INVALID, "no secret"),
        (pod(waiting(BACK_OFF, before=ended(1, "boom"))), PodTrouble.CRASH_LOOP, "exit code 1: boom"),
        (pod(waiting(BACK_OFF, before=ended(137, reason="OOMKilled"))), PodTrouble.OUT_OF_MEMORY, "memory"),
        (pod({"state": ended(137, reason="OOMKilled")}), PodTrouble.OUT_OF_MEMORY, "memory"),
        (pod({"state": ended(65, message("DigestMismatch"))}), PodTrouble.DIGEST_MISMATCH, "what to change"),
        (pod({"state": ended(65, message("WarmupFailed"))}), PodTrouble.WARMUP_FAILED, "WarmupFailed"),
        (pod({"state": ended(65)}), PodTrouble.BAD_BUNDLE, "exit code 65"),
        (pod({"state": ended(75)}), PodTrouble.REGISTRY_UNREACHABLE, "75"),
        (pod({"state": ended(78, message("BadConfig"))}), PodTrouble.BAD_CONFIGURATION, "what to change"),
        (pod({"state": ended(65, message("VersionMissing"))}), PodTrouble.VERSION_MISSING, "VersionMissing"),
        (pod({"state": ended(137)}), PodTrouble.INFRASTRUCTURE, "137"),
        (pod({"state": ended(1, "once")}), None, ""),
        (pod(waiting(BACK_OFF, before=ended(137))), PodTrouble.CRASH_LOOP, "137"),
        (pod(phase="Failed", reason="Evicted", message="disk"), PodTrouble.INFRASTRUCTURE, "Evicted: disk"),
        (
            pod(
                {"state": ended(143)},
                conditions=[{"type": "DisruptionTarget", "status": "True", "message": "node gone"}],
            ),
            PodTrouble.INFRASTRUCTURE,
            "node gone",
        ),
        (
            pod(
                conditions=[
                    {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}
                ]
            ),
            PodTrouble.UNSCHEDULABLE,
            "0/3 nodes",
        ),
        (unplaced('persistentvolumeclaim "c" not found'), PodTrouble.VOLUME_MISSING, '"c" not found'),
        (unplaced('persistentvolumeclaim "c" is being deleted'), PodTrouble.VOLUME_MISSING, "being deleted"),
        (
            unplaced('persistentvolumeclaim "c" bound to non-existent persistentvolume "pv"'),
            PodTrouble.VOLUME_LOST,
            "non-existent",
        ),
        (
            unplaced("node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"),
            PodTrouble.VOLUME_LOST,
            "non-existent",
        ),
        (unplaced("pod has unbound immediate PersistentVolumeClaims"), PodTrouble.VOLUME_UNBOUND, "unbound"),
        # of an ephemeral volume, which is there a moment later
        (
            unplaced('waiting for ephemeral volume controller to create the persistentvolumeclaim "c"'),
            PodTrouble.UNSCHEDULABLE,
            "ephemeral",
        ),
        (unplaced("1 node(s) had volume node affinity conflict"), PodTrouble.UNSCHEDULABLE, "affinity"),
        (
            pod(waiting("PodInitializing"), initContainerStatuses=[waiting("ImagePullBackOff")]),
            PodTrouble.IMAGE_PULL,
            "ImagePullBackOff",
        ),
    ],
)
def test_trouble(observed: dict[str, Any], trouble: PodTrouble | None, text: str) -> None:
    view = pod_view(observed)
    assert view.trouble is trouble
    assert text in view.message


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ({"conditions": target("EvictionByEvictionAPI")}, "Evicted"),
        ({"conditions": target("PreemptionByScheduler")}, "Preempted"),
        ({"conditions": target("DeletionByTaintManager")}, "NodeLost"),
        ({"conditions": target("DeletionByPodGC")}, "NodeLost"),
        ({"conditions": target("WhateverComesNext")}, "Disrupted"),
        ({"conditions": [{"type": "DisruptionTarget", "status": "True"}]}, "Disrupted"),
        # the kubelet says more in the status of the whole pod than in the condition
        ({"conditions": target("TerminationByKubelet")}, "Disrupted"),
        ({"conditions": target("TerminationByKubelet"), "phase": "Failed", "reason": "Evicted"}, "Evicted"),
        ({"conditions": target("TerminationByKubelet"), "phase": "Failed", "reason": "Preempting"}, "Preempted"),
        ({"conditions": target("TerminationByKubelet"), "phase": "Failed", "reason": "Terminated"}, "NodeShutdown"),
        ({"phase": "Failed", "reason": "Evicted"}, "Evicted"),
        ({"phase": "Failed", "reason": "NodeShutdown"}, "NodeShutdown"),
        ({"phase": "Failed", "reason": "OutOfnvidia.com/gpu"}, "NodeRefused"),
        ({"phase": "Failed", "reason": "UnexpectedAdmissionError"}, "NodeRefused"),
        ({"phase": "Failed", "reason": "DeadlineExceeded"}, None),
        ({"phase": "Failed"}, None),
        ({"phase": "Running", "reason": "NodeLost"}, None),
        ({"conditions": [{"type": "DisruptionTarget", "status": "False", "reason": "EvictionByEvictionAPI"}]}, None),
    ],
)
def test_what_ended_a_pod_from_outside(status: dict[str, Any], reason: str | None) -> None:
    found = disruption_of(pod({"state": ended(143)}, **status))
    assert (found.reason if found else None) == reason


@pytest.mark.parametrize(
    ("status", "meta", "ready", "terminating"),
    [
        ({"conditions": [{"type": "Ready", "status": "True"}]}, {}, True, False),
        ({"conditions": [{"type": "Ready", "status": "False"}]}, {}, False, False),
        ({"conditions": [{"type": "Ready", "status": "True"}]}, {"deletionTimestamp": "now"}, False, True),
        ({"conditions": [{"type": "Ready", "status": "True"}], "phase": "Failed"}, {}, False, True),
    ],
)
def test_readiness(status: dict[str, Any], meta: dict[str, Any], ready: bool, terminating: bool) -> None:
    observed = pod({**RUNNING, "restartCount": 2}, **status)
    observed["metadata"] |= meta
    view = pod_view(observed)
    assert (view.ready, view.terminating, view.restarts, view.scheduled) == (ready, terminating, 2, True)


def test_a_pod_is_asked_at_the_port_that_it_was_rendered_with() -> None:
    observed = pod(podIP="fd00::1")
    observed["spec"]["containers"] = [{"env": [{"name": "VIRIDIAN_PORT", "value": "9000"}]}]
    assert address_of(observed, 8080) == "http://[fd00::1]:9000"
    assert address_of(pod(podIP="10.0.0.1"), 8080) == "http://10.0.0.1:8080"


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        (None, None),
        ("", None),
        ("Traceback\nValueError", None),
        ("[1]", None),
        ('{"a": 1}', {"a": 1}),
        ('{\n "a": 1\n}', {"a": 1}),
        ('log line\n{"a": 1}\n', {"a": 1}),
        ('{"a": 1', None),
    ],
)
def test_termination_messages(text: str | None, parsed: dict[str, int] | None) -> None:
    assert parse_message(text) == parsed
