"""Whose fault the end of a Job is, and the reason that stands for it in status."""

from __future__ import annotations

from typing import Any

import pytest

from viridian_operator.api.conditions import Reason
from viridian_operator.decide.jobs import Failure, classify
from viridian_operator.decide.observation import JobState, JobView, PodTrouble

INFRASTRUCTURE, CODE, FINAL = Failure.INFRASTRUCTURE, Failure.CODE, Failure.FINAL
OUT_OF_MEMORY = PodTrouble.OUT_OF_MEMORY


def ended(**end: Any) -> JobView:
    return JobView(name="ctr-train-7-a1", task="train", number=7, attempt=1, state=JobState.FAILED, **end)


def words(reason: object) -> dict[str, Any]:
    return {"result": {"task": "Train", "error": {"reason": reason, "message": "what to change"}}}


@pytest.mark.parametrize(
    ("code", "failure", "reason"),
    [
        (3, FINAL, "GateInputMissing"),
        (64, FINAL, "BadUsage"),
        (65, FINAL, "BadData"),
        (75, INFRASTRUCTURE, "Infrastructure"),
        (78, FINAL, "BadConfiguration"),
        (137, INFRASTRUCTURE, "Killed"),
        (143, INFRASTRUCTURE, "Stopped"),
        (1, CODE, "CodeFailed"),
        (2, CODE, "CodeFailed"),
        (134, CODE, "CodeFailed"),
        (139, CODE, "CodeFailed"),
        (None, CODE, "CodeFailed"),
    ],
)
class TestExitCode:
    def test_by_itself(self, code: int | None, failure: Failure, reason: str) -> None:
        verdict = classify(ended(exit_code=code))
        assert (verdict.failure, verdict.reason) == (failure, reason)

    @pytest.mark.parametrize("disruption", ["Evicted", "Preempted", "NodeLost", "NodeShutdown", "NodeRefused"])
    def test_of_a_pod_that_was_ended_from_outside(
        self, code: int | None, failure: Failure, reason: str, disruption: str
    ) -> None:
        verdict = classify(ended(exit_code=code, disrupted=True, disruption=Reason(disruption)))
        assert (verdict.failure, verdict.reason) == (INFRASTRUCTURE, disruption)

    def test_of_a_pod_that_is_gone_without_a_word(self, code: int | None, failure: Failure, reason: str) -> None:
        verdict = classify(ended(exit_code=code, disrupted=True))
        assert (verdict.failure, verdict.reason) == (INFRASTRUCTURE, "PodLost")

    def test_of_a_pod_without_memory(self, code: int | None, failure: Failure, reason: str) -> None:
        verdict = classify(ended(exit_code=code, trouble=OUT_OF_MEMORY))
        assert (verdict.failure, verdict.reason) == (FINAL, "OutOfMemory")

    def test_of_a_job_that_took_too_long(self, code: int | None, failure: Failure, reason: str) -> None:
        verdict = classify(ended(exit_code=code, reason="DeadlineExceeded"))
        assert (verdict.failure, verdict.reason) == (FINAL, "DeadlineExceeded")

    @pytest.mark.parametrize("told", ["Promoted", "OutOfMemory", "Evicted", "a b", "", None, 7, ["PeerLost"], {}])
    def test_words_that_are_no_reason_for_it_change_nothing(
        self, code: int | None, failure: Failure, reason: str, told: object
    ) -> None:
        verdict = classify(ended(exit_code=code, **words(told)))
        assert (verdict.failure, verdict.reason, verdict.message) == (failure, reason, "what to change")


@pytest.mark.parametrize(
    ("code", "told", "failure", "reason"),
    [
        (65, "DataTrimmed", FINAL, "DataTrimmed"),
        (75, "RegistryUnreachable", INFRASTRUCTURE, "RegistryUnreachable"),
        (75, "LogUnreachable", INFRASTRUCTURE, "LogUnreachable"),
        (75, "PeerLost", INFRASTRUCTURE, "PeerLost"),
        # each only with its own exit code
        (75, "DataTrimmed", INFRASTRUCTURE, "Infrastructure"),
        (65, "PeerLost", FINAL, "BadData"),
        (3, "DataTrimmed", FINAL, "GateInputMissing"),
        (1, "RegistryUnreachable", CODE, "CodeFailed"),
        (143, "PeerLost", INFRASTRUCTURE, "Stopped"),
    ],
)
def test_the_container_may_be_more_precise(code: int, told: str, failure: Failure, reason: str) -> None:
    verdict = classify(ended(exit_code=code, **words(told)))
    assert (verdict.failure, verdict.reason) == (failure, reason)


def test_eviction_comes_before_the_memory_that_it_was_for() -> None:
    view = ended(exit_code=137, disrupted=True, disruption=Reason.EVICTED, trouble=OUT_OF_MEMORY)
    assert classify(view).reason is Reason.EVICTED


@pytest.mark.parametrize("error", ["the log is away", ["RegistryUnreachable"], 7, None, {}])
def test_an_error_of_another_form_is_no_reason(error: object) -> None:
    verdict = classify(ended(exit_code=75, message="exit code 75 (Error)", result={"error": error}))
    assert (verdict.failure, verdict.reason) == (INFRASTRUCTURE, "Infrastructure")
    assert verdict.message
