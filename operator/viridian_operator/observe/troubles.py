"""Why a pod does not run, out of its status."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

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
#: reasons of a whole pod that ended through no fault of its containers
_INFRASTRUCTURE: Final = frozenset(
    {
        "Evicted",
        "Preempting",
        "NodeLost",
        "NodeShutdown",
        "NodeAffinity",
        "Shutdown",
        "Terminated",
        "UnexpectedAdmissionError",
        "OutOfcpu",
        "OutOfmemory",
        "OutOfpods",
    }
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
    if found := disruption_of(pod) or _unscheduled(status):
        return found
    for container in _containers(status):
        if found := _of_container(container):
            return found
    return None


def disruption_of(pod: Mapping[str, Any]) -> Trouble | None:
    """Eviction, preemption, node loss: what ends pods from outside."""
    status = pod.get("status") or {}
    for condition in status.get("conditions") or ():
        if condition.get("type") == "DisruptionTarget" and condition.get("status") == "True":
            text = condition.get("message") or condition.get("reason") or "disrupted"
            return PodTrouble.INFRASTRUCTURE, str(text)
    if status.get("phase") == "Failed" and status.get("reason") in _INFRASTRUCTURE:
        return PodTrouble.INFRASTRUCTURE, f"{status['reason']}: {status.get('message') or ''}".rstrip(": ")
    return None


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
            text = condition.get("message") or condition.get("reason") or "no node fits"
            return PodTrouble.UNSCHEDULABLE, str(text)
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
