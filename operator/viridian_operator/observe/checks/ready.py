"""``readyPercent``: how many of the wanted pods are ready."""

from __future__ import annotations

from viridian_operator.api.status import CheckResult
from viridian_operator.observe.checks.subject import Outcome, Subject, result


def check_ready(name: str, least_percent: int, subject: Subject) -> CheckResult:
    """Fails below the percentage of the full size."""
    ready, wanted = len(subject.ready), max(1, subject.wanted)
    percent = min(100.0, 100.0 * ready / wanted)
    outcome = Outcome.PASSED if percent >= least_percent else Outcome.FAILED
    return result(name, outcome, f"{ready} of {wanted} pods ready", percent)
