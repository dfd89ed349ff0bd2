"""What a bake leads to: checks that fail, that cannot tell, that never answer, and Jobs."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from simulation import START, UID, spec

from viridian_operator.api import names
from viridian_operator.api.spec import ModelUpdateSpec
from viridian_operator.api.status import (
    Bake,
    Candidate,
    CheckResult,
    Colour,
    Kind,
    ModelUpdateStatus,
    Phase,
    Revision,
    Trigger,
    Update,
)
from viridian_operator.decide.decision import CreateCheckJob, Decision, DeleteJob
from viridian_operator.decide.observation import JobState, JobView, Observation, PodTrouble, PodView
from viridian_operator.decide.step import decide

JOB = {"name": "smoke", "job": {"template": {"spec": {"containers": [{"name": "smoke", "image": "smoke"}]}}}}
ERRORS = {"name": "errors", "prometheus": {"url": "http://p", "query": "q", "max": 1}, "consecutiveErrors": 0}


def revision(number: int) -> Revision:
    return Revision(
        version=str(number),
        digest=f"sha256:{number}",
        hash=f"h{number}",
        deployment=f"ctr-h{number}",
        colour=Colour.BLUE,
    )


def chosen(*checks: dict[str, Any], **bake: Any) -> ModelUpdateSpec:
    fields = {"duration": "30s", "interval": "10s", "deadline": "5m"} | bake
    return spec(rollout={"bake": fields, "healthChecks": list(checks)})


class Baking:
    """Update 7 bakes version 2 with version 1 standing by; one pass at a time."""

    def __init__(self, spec: ModelUpdateSpec) -> None:
        self.spec, self.now, self.second = spec, START, 0.0
        self.jobs: tuple[JobView, ...] = ()
        green = revision(2)
        update = Update(
            number=7,
            kind=Kind.INCREMENTAL,
            trigger=Trigger(kind="NewEvents", at=START),
            phase=Phase.BAKING,
            started_at=START,
            phase_since=START,
            candidate=Candidate(version="2", digest="sha256:2"),
            green=green,
            replicas=1,
            bake=Bake(started_at=START, deadline=START + timedelta(minutes=5)),
        )
        self.status = ModelUpdateStatus(active=green, previous=revision(1), update=update)

    def look(self, second: float, *outcomes: tuple[str, str], checking: str = "", lost: bool = False) -> Decision:
        now = START + timedelta(seconds=second)
        pods = tuple(PodView(f"{h}-0", h, "10.0.0.1", ready=True, scheduled=True) for h in ("h1", "h2"))
        if lost:
            pods = (pods[0], PodView("h2-0", "h2", "", ready=False, scheduled=True, trouble=PodTrouble.INFRASTRUCTURE))
        results = tuple(CheckResult(name=name, outcome=outcome, checked_at=now) for name, outcome in outcomes)
        seen = Observation(
            name="ctr",
            namespace="recsys",
            uid=UID,
            generation=1,
            annotations={},
            pods=pods,
            jobs=self.jobs,
            checks=results or None,
            checking=frozenset({checking} - {""}),
        )
        made = decide(self.spec, self.status, seen, now)
        self.status = ModelUpdateStatus.model_validate(made.status.wire())
        return made

    def job(self, state: JobState, **more: Any) -> None:
        name = names.check_job("ctr", "smoke", 7)
        self.jobs = (JobView(name, "check", 7, 1, state, **more),)

    @property
    def phase(self) -> Phase:
        assert self.status.update
        return self.status.update.phase

    @property
    def result(self) -> CheckResult:
        assert self.status.update
        assert self.status.update.bake
        return self.status.update.bake.results[0]


@pytest.mark.parametrize(
    ("then", "phase", "quarantined"),
    [("RollBack", Phase.ROLLING_BACK, False), ("Hold", Phase.BAKING, False), ("Promote", Phase.BAKING, False)],
)
def test_errors_in_a_row_are_inconclusive_and_no_failure(then: str, phase: Phase, quarantined: bool) -> None:
    bake = Baking(chosen(ERRORS, onInconclusive=then))
    bake.look(10, ("errors", "Errored"))
    assert bake.phase is phase
    assert bake.status.update
    assert bake.status.update.quarantine is quarantined
    if phase is Phase.ROLLING_BACK:
        assert bake.status.update.reason == "BakeInconclusive"


def test_a_held_bake_goes_on_when_the_check_can_tell_again() -> None:
    bake = Baking(chosen(ERRORS, onInconclusive="Hold"))
    bake.look(10, ("errors", "Errored"))
    assert bake.status.update
    assert bake.status.update.message.startswith("held: check errors could not tell 1 times in a row")
    for second in (20, 30, 40):
        bake.look(second, ("errors", "Passed"))
    assert bake.phase is Phase.SUCCEEDED


def test_promotion_without_proof_waits_for_the_deadline() -> None:
    bake = Baking(chosen(ERRORS, onInconclusive="Promote"))
    bake.look(10, ("errors", "Errored"))
    bake.look(299, ("errors", "Errored"))
    assert bake.phase is Phase.BAKING
    bake.look(300, ("errors", "Errored"))
    assert bake.phase is Phase.SUCCEEDED


def test_failures_quarantine() -> None:
    bake = Baking(chosen(ERRORS | {"failureLimit": 0}))
    bake.look(10, ("errors", "Failed"))
    assert bake.status.update
    assert (bake.phase, bake.status.update.reason, bake.status.update.quarantine) == (
        Phase.ROLLING_BACK,
        "HealthCheckFailed",
        True,
    )


def test_lost_endpoints_do_not_wait_for_a_check_that_hangs() -> None:
    bake = Baking(chosen(ERRORS))
    bake.look(10, checking="errors")
    bake.look(11, checking="errors", lost=True)
    assert bake.phase is Phase.ROLLING_BACK


def test_a_deadline_that_passed_long_ago_waits_for_one_look() -> None:
    """The operator was down: nothing is decided from before, and a check that hangs ends as an error."""
    bake = Baking(chosen(ERRORS | {"consecutiveErrors": None}))
    made = bake.look(7200, checking="errors")
    assert bake.phase is Phase.BAKING
    assert made.wake_at is not None
    bake.look(7201, ("errors", "Errored"))
    assert bake.phase is Phase.ROLLING_BACK


def test_a_pass_without_results_writes_nothing_and_does_not_spin() -> None:
    bake = Baking(chosen(ERRORS))
    bake.look(10, checking="errors")
    before = bake.status
    made = bake.look(12, checking="errors")
    assert bake.status == before
    assert made.wake_at is not None
    assert made.wake_at - START > timedelta(seconds=13)


def created(made: Decision) -> list[str]:
    return [action.check for action in made.actions if isinstance(action, CreateCheckJob)]


def pass_ready(bake: Baking) -> None:
    for second in (10, 20, 30, 40):
        bake.look(second, ("any-endpoint", "Passed"))


def test_a_job_is_created_once_and_its_success_is_needed() -> None:
    bake = Baking(chosen(JOB))
    assert created(bake.look(1)) == ["smoke"]
    assert created(bake.look(2)) == ["smoke"]  # nobody has seen it yet
    bake.job(JobState.RUNNING)
    assert created(bake.look(3)) == []
    pass_ready(bake)
    assert bake.phase is Phase.BAKING
    bake.job(JobState.COMPLETE)
    bake.look(50)
    assert bake.phase is Phase.SUCCEEDED


@pytest.mark.parametrize(
    ("end", "reason", "quarantined"),
    [
        ({"exit_code": 1}, "HealthCheckFailed", True),
        ({"exit_code": 64}, "BakeInconclusive", False),
        ({"exit_code": 143}, "BakeInconclusive", False),
        ({"exit_code": 137, "trouble": PodTrouble.OUT_OF_MEMORY}, "BakeInconclusive", False),
        ({"disrupted": True}, "BakeInconclusive", False),
        ({"reason": "DeadlineExceeded"}, "BakeInconclusive", False),
    ],
)
def test_only_an_exit_of_its_own_is_a_failure(end: dict[str, Any], reason: str, quarantined: bool) -> None:
    bake = Baking(chosen(JOB))
    bake.job(JobState.FAILED, **end)
    bake.look(5)
    assert bake.status.update
    assert (bake.phase, bake.status.update.reason) == (Phase.ROLLING_BACK, reason)
    assert bake.status.update.quarantine is quarantined


def test_a_job_that_was_deleted_is_an_error_and_is_not_created_again() -> None:
    bake = Baking(chosen(JOB, onInconclusive="Hold"))
    bake.job(JobState.RUNNING)
    bake.look(2)
    bake.jobs = ()
    assert created(bake.look(3)) == []
    pass_ready(bake)
    assert (bake.phase, bake.result.outcome) == (Phase.BAKING, "Errored")


def test_a_job_that_passed_may_go() -> None:
    bake = Baking(chosen(JOB))
    bake.job(JobState.COMPLETE)
    bake.look(2)
    bake.jobs = ()
    assert created(bake.look(3)) == []
    pass_ready(bake)
    assert bake.phase is Phase.SUCCEEDED


def test_a_job_that_failed_stays_to_be_looked_at() -> None:
    bake = Baking(chosen(JOB))
    bake.job(JobState.FAILED, exit_code=1)
    assert bake.status.update
    for phase, kept in ((Phase.ROLLED_BACK, True), (Phase.SUCCEEDED, False)):
        bake.status = bake.status.but(update=bake.status.update.but(phase=phase))
        actions = bake.look(5).actions
        assert any(isinstance(action, DeleteJob) for action in actions) is not kept
