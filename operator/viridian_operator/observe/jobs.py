"""Training and evaluation Jobs out of their API objects and pods."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from pydantic import ValidationError

from viridian_operator.api import names
from viridian_operator.api.conditions import Reason
from viridian_operator.api.status import Window
from viridian_operator.decide.observation import JobState, JobView, PodTrouble
from viridian_operator.kube.resources import Manifest
from viridian_operator.observe.causes import Weight, cause_of
from viridian_operator.observe.termination import for_people, parse_message
from viridian_operator.observe.times import moment
from viridian_operator.observe.troubles import (
    Trouble,
    disruption_of,
    terminated_state,
    trouble_of,
    was_out_of_memory,
)

JOB_NAME: Final = "batch.kubernetes.io/job-name"
INDEX: Final = "batch.kubernetes.io/job-completion-index"
_EXIT_CODE: Final = re.compile(r"failed with exit code (\d+)")

Pod = Manifest


def job_view(job: Mapping[str, Any], pods: Iterable[Manifest]) -> JobView | None:
    """The Job of an attempt with what its pods tell; None for a Job without our labels."""
    meta = job["metadata"]
    labels, annotations = meta.get("labels") or {}, meta.get("annotations") or {}
    number, attempt = labels.get(names.UPDATE, ""), labels.get(names.ATTEMPT, "")
    if not (number.isdecimal() and attempt.isdecimal() and names.TASK in labels):
        return None
    own = [pod for pod in pods if (pod["metadata"].get("labels") or {}).get(JOB_NAME) == meta["name"]]
    state = _state(job, own)
    view = _Reading(job, own, state)
    trouble = view.trouble()
    return JobView(
        name=meta["name"],
        task=labels[names.TASK],
        number=int(number),
        attempt=int(attempt),
        state=state,
        window=_window(annotations.get(names.ANNOTATION_WINDOW)),
        parent=annotations.get(names.ANNOTATION_PARENT, ""),
        exit_code=view.exit_code(),
        result=view.result(),
        reason=view.condition("Failed").get("reason") or (trouble[0].value if trouble else ""),
        message=view.message(trouble),
        trouble=trouble[0] if trouble else None,
        disrupted=view.disrupted(),
        disruption=view.disruption(),
        started_at=view.started_at(),
    )


def _state(job: Mapping[str, Any], pods: list[Pod]) -> JobState:
    """Only the terminal conditions end a Job: they come after all its pods have ended."""
    spec, status = job.get("spec") or {}, job.get("status") or {}
    holding = {each["type"] for each in status.get("conditions") or () if each.get("status") == "True"}
    if "Complete" in holding:
        return JobState.COMPLETE
    if "Failed" in holding:
        return JobState.FAILED
    if spec.get("suspend"):
        return JobState.SUSPENDED
    begun = sum((pod.get("status") or {}).get("phase", "Pending") != "Pending" for pod in pods)
    ended = int(status.get("succeeded") or 0) + int(status.get("failed") or 0)
    wanted = int(spec.get("parallelism") or 1)
    return JobState.RUNNING if max(begun, ended) >= wanted else JobState.PENDING


class _Reading:
    """What conditions and pods of one Job say together."""

    def __init__(self, job: Mapping[str, Any], pods: list[Pod], state: JobState) -> None:
        containers = job["spec"]["template"]["spec"]["containers"]
        self._job, self._pods, self._state = job, pods, state
        self._container = containers[0]["name"]
        self._cause = cause_of(pods, self._container)

    def condition(self, kind: str) -> Mapping[str, Any]:
        """A condition that holds; empty if it does not."""
        conditions = (self._job.get("status") or {}).get("conditions") or ()
        return next((each for each in conditions if each["type"] == kind and each.get("status") == "True"), {})

    def exit_code(self) -> int | None:
        """Of the container that is the cause; out of the Job's condition if its pod is gone."""
        if self._state is JobState.COMPLETE:
            return 0
        if self._cause:
            return self._cause.exit_code
        found = _EXIT_CODE.search(self.condition("Failed").get("message") or "")
        return int(found[1]) if found else None

    def result(self) -> Mapping[str, Any] | None:
        """The last words of rank 0, or of the container that is the cause of a failure."""
        first = self._first()
        end = terminated_state(self._status(first)) if first else None
        if self._state is JobState.FAILED and self._cause:
            end = self._cause.state
        return parse_message(end.get("message")) if end else None

    def disrupted(self) -> bool:
        """Whether it ended from outside; also when nothing at all is left that could tell an exit code.

        A pod that was evicted while the others failed for a reason of their own is no disruption of the Job.
        """
        if self._state is not JobState.FAILED or (self._cause and self._cause.weight is Weight.FINAL):
            return False
        failed = self.condition("Failed")
        if self._ended_by_queue() or "DisruptionTarget" in (failed.get("message") or ""):
            return True
        if self._cause and self._cause.weight is Weight.CAUSE:
            return self._cause.disruption is not None
        if any(disruption_of(pod) for pod in self._pods):
            return True
        return failed.get("reason") in ("BackoffLimitExceeded", "PodFailurePolicy") and self.exit_code() is None

    def disruption(self) -> Reason | None:
        """What ends its pods from outside, as far as one is still there to tell; that of the cause counts first."""
        if self._ended_by_queue():
            return Reason.SUSPENDED
        if self._cause and self._cause.disruption:
            return self._cause.disruption.reason
        return next((found.reason for pod in self._pods if (found := disruption_of(pod))), None)

    def _ended_by_queue(self) -> bool:
        """Whether it failed only because it was suspended, which is not meant to fail a Job.

        The Job controller deletes the pods of a suspended Job. If it sees one that has ended and is not gone yet, it
        applies the failure policy to it (``getFailJobMessage``), whatever made it end, and also where the Job was
        resumed meanwhile.
        """
        if self._state is not JobState.FAILED:
            return False
        if self._cause and (not self._cause.deleted or self._cause.weight is Weight.FINAL):
            return False
        # the condition stays as it was when the Job failed
        suspended = self._job["spec"].get("suspend") or self.condition("Suspended")
        return bool(suspended) or self._ended_by_earlier_suspension()

    def _ended_by_earlier_suspension(self) -> bool:
        """Whether what failed was stopped before the Job was resumed, which is when its time began anew."""
        conditions = (self._job.get("status") or {}).get("conditions") or ()
        resumed = moment((self._job.get("status") or {}).get("startTime"))
        if resumed is None or not any(each["type"] == "Suspended" for each in conditions):
            return False
        if self._cause:
            return self._cause.created_at is not None and self._cause.created_at < resumed
        failed = self.condition("FailureTarget") or self.condition("Failed")
        at = moment(failed.get("lastTransitionTime"))
        grace = timedelta(seconds=self._job["spec"]["template"]["spec"].get("terminationGracePeriodSeconds") or 0)
        return at is not None and at - resumed <= grace

    def trouble(self) -> Trouble | None:
        """Out of memory in any pod, or what the pods wait for."""
        if any(was_out_of_memory(pod) for pod in self._pods):
            return PodTrouble.OUT_OF_MEMORY, "killed because it used more memory than its limit"
        if self._state in (JobState.COMPLETE, JobState.SUSPENDED):
            return None
        if self.disrupted():
            return PodTrouble.INFRASTRUCTURE, self.condition("Failed").get("message") or "disrupted"
        if self._state is JobState.PENDING:
            return next((found for pod in self._pods if (found := trouble_of(pod))), None)
        return None

    def message(self, trouble: Trouble | None) -> str:
        """One sentence for people."""
        if self._state is JobState.FAILED and self._cause and not self.disrupted():
            return for_people(self._cause.state)
        if trouble:
            return trouble[1]
        return str(self.condition("Failed").get("message") or "")

    def started_at(self) -> datetime | None:
        """When the container of rank 0 started."""
        status = self._status(first) if (first := self._first()) else {}
        state = status.get("state") or {}
        begun = state.get("running") or state.get("terminated") or {}
        return moment(begun.get("startedAt"))

    def _first(self) -> Pod | None:
        """The newest pod of rank 0."""
        ranked = [pod for pod in self._pods if (pod["metadata"].get("annotations") or {}).get(INDEX, "0") == "0"]
        return max(ranked, key=lambda pod: pod["metadata"].get("creationTimestamp") or "", default=None)

    def _status(self, pod: Pod) -> Mapping[str, Any]:
        statuses = (pod.get("status") or {}).get("containerStatuses") or ()
        found: Mapping[str, Any] = next((each for each in statuses if each.get("name") == self._container), {})
        return found


def _window(text: str | None) -> Window | None:
    try:
        return Window.model_validate(json.loads(text)) if text else None
    except (ValueError, ValidationError):
        return None
