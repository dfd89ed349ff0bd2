"""Why a pod does not run, out of its status."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from viridian_operator.api.conditions import Reason
from viridian_operator.decide.observation import PodTrouble
from viridian_operator.observe.termination import error_of, for_people, parse_message

Trouble = tuple[PodTrouble, str]
Status = Mapping[str, Any]

_IMAGE: Final = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "ErrImageNeverPull",
        "ImageInspectError",
        "RegistryUnavailable",
        "SignatureValidationFailed",
    }
)
_INVALID: Final = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})
#: reasons of the condition DisruptionTarget
_DISRUPTIONS: Final[Mapping[str, Reason]] = {
    "EvictionByEvictionAPI": Reason.EVICTED,
    "PreemptionByScheduler": Reason.PREEMPTED,
    "DeletionByTaintManager": Reason.NODE_LOST,
    "DeletionByPodGC": Reason.NODE_LOST,
}
#: reasons of a whole pod that its kubelet ended or refused; the condition only says TerminationByKubelet then
_BY_KUBELET: Final[Mapping[str, Reason]] = {
    "Evicted": Reason.EVICTED,
    "Preempting": Reason.PREEMPTED,
    "NodeLost": Reason.NODE_LOST,
    "NodeShutdown": Reason.NODE_SHUTDOWN,
    "Shutdown": Reason.NODE_SHUTDOWN,
    "Terminated": Reason.NODE_SHUTDOWN,
    "NodeAffinity": Reason.NODE_REFUSED,
    "UnexpectedAdmissionError": Reason.NODE_REFUSED,
}
#: before the name of what a node has too little of, such as ``OutOfcpu`` or ``OutOfnvidia.com/gpu``
_OUT_OF: Final = "OutOf"
#: what the scheduler says of volume claims, the same on every node
#: (kubernetes/pkg/scheduler/framework/plugins/volumebinding)
_VOLUMES: Final = (
    (re.compile(r'persistentvolumeclaim "[^"]*" (not found|is being deleted)'), PodTrouble.VOLUME_MISSING),
    (re.compile(r"bound to non-existent (persistentvolume|pv)"), PodTrouble.VOLUME_LOST),
    (re.compile(r"unbound immediate PersistentVolumeClaims"), PodTrouble.VOLUME_UNBOUND),
)
#: reasons that serving images give for a load that failed
REASONS: Final = {
    "DigestMismatch": PodTrouble.DIGEST_MISMATCH,
    "BadBundle": PodTrouble.BAD_BUNDLE,
    "WarmupFailed": PodTrouble.WARMUP_FAILED,
    "VersionMissing": PodTrouble.VERSION_MISSING,
    "RegistryUnreachable": PodTrouble.REGISTRY_UNREACHABLE,
    "BadConfig": PodTrouble.BAD_CONFIGURATION,
}
_EXIT_CODES: Final = {
    65: PodTrouble.BAD_BUNDLE,
    75: PodTrouble.REGISTRY_UNREACHABLE,
    78: PodTrouble.BAD_CONFIGURATION,
}
#: SIGKILL that the kernel did not send for memory, and SIGTERM
_KILLED: Final = frozenset({137, 143})


def trouble_of(pod: Mapping[str, Any]) -> Trouble | None:
    """The trouble of a pod and a sentence about it; None if its containers run or are about to.

    A container that runs again is in no trouble, whatever ended it before: restarts are counted apart.
    """
    status = pod.get("status") or {}
    if disruption := disruption_of(pod):
        return PodTrouble.INFRASTRUCTURE, disruption.message
    if found := _unscheduled(status):
        return found
    for container in _containers(status):
        if found := _of_container(container):
            return found
    return None


class Disruption(NamedTuple):
    """What ends a pod from outside, and a sentence about it."""

    reason: Reason
    message: str


def disruption_of(pod: Mapping[str, Any]) -> Disruption | None:
    """Eviction, preemption, node loss: what ends pods from outside."""
    status = pod.get("status") or {}
    kubelet = _by_kubelet(status.get("reason") or "")
    for condition in status.get("conditions") or ():
        if condition.get("type") == "DisruptionTarget" and condition.get("status") == "True":
            why = condition.get("reason") or ""
            text = condition.get("message") or why or "disrupted"
            return Disruption(_DISRUPTIONS.get(why) or kubelet or Reason.DISRUPTED, str(text))
    if status.get("phase") == "Failed" and kubelet:
        return Disruption(kubelet, f"{status['reason']}: {status.get('message') or ''}".rstrip(": "))
    return None


def _by_kubelet(reason: str) -> Reason | None:
    return Reason.NODE_REFUSED if reason.startswith(_OUT_OF) else _BY_KUBELET.get(reason)


def was_out_of_memory(pod: Mapping[str, Any]) -> bool:
    """Whether a container of the pod was ended for its memory and does not run again."""
    return any(
        (terminated_state(container) or {}).get("reason") == "OOMKilled"
        for container in _containers(pod.get("status") or {})
        if "running" not in (container.get("state") or {})
    )


def terminated_state(container: Status) -> Status | None:
    """How a container ended the last time."""
    now, before = container.get("state") or {}, container.get("lastState") or {}
    found: Status | None = now.get("terminated") or before.get("terminated")
    return found


def _containers(status: Status) -> Iterator[Status]:
    yield from status.get("initContainerStatuses") or ()
    yield from status.get("containerStatuses") or ()


def _unscheduled(status: Status) -> Trouble | None:
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            text = str(condition.get("message") or condition.get("reason") or "no node fits")
            of_volume = (trouble for pattern, trouble in _VOLUMES if pattern.search(text))
            return next(of_volume, PodTrouble.UNSCHEDULABLE), text
    return None


def _of_container(container: Status) -> Trouble | None:
    state = container.get("state") or {}
    if state.get("running") is not None:
        return None
    waiting = state.get("waiting") or {}
    reason, text = waiting.get("reason") or "", waiting.get("message") or waiting.get("reason") or ""
    if reason in _IMAGE:
        return PodTrouble.IMAGE_PULL, f"{container.get('image', '')}: {text}"
    if reason in _INVALID:
        return PodTrouble.INVALID, str(text)
    terminated = terminated_state(container)
    if terminated is None:
        return None
    return _of_end(terminated, looping=reason == "CrashLoopBackOff")


def _of_end(terminated: Status, *, looping: bool) -> Trouble | None:
    text, code = for_people(terminated), terminated.get("exitCode")
    if terminated.get("reason") == "OOMKilled":
        return PodTrouble.OUT_OF_MEMORY, "killed because it used more memory than its limit"
    reported, _ = error_of(parse_message(terminated.get("message")))
    if trouble := REASONS.get(reported) or _EXIT_CODES.get(code or 0):
        return trouble, text
    if looping:
        return PodTrouble.CRASH_LOOP, text
    if code in _KILLED:
        return PodTrouble.INFRASTRUCTURE, text
    return None
