"""``maxRestarts``: containers that died since the bake began."""

from __future__ import annotations

from viridian_operator.api.status import CheckResult
from viridian_operator.observe.checks.subject import Outcome, Subject, result


def check_restarts(name: str, most: int, subject: Subject) -> CheckResult:
    """Fails above the number of restarts; pods that are gone do not count any more."""
    restarts = max(0, sum(pod.restarts for pod in subject.pods) - subject.restarts_before)
    outcome = Outcome.PASSED if restarts <= most else Outcome.FAILED
    return result(name, outcome, f"{restarts} restarts since the bake began", float(restarts))
