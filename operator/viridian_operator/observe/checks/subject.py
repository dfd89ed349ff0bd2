"""What health checks look at, and what they can say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from viridian_operator.api.status import CheckResult, Revision
from viridian_operator.decide.observation import PodView
from viridian_operator.observe.golden import Golden


class Outcome(StrEnum):
    """``CheckResult.outcome``; only Passed lets a bake go on."""

    PASSED = "Passed"
    FAILED = "Failed"
    ERRORED = "Errored"
    INCONCLUSIVE = "Inconclusive"


@dataclass(frozen=True)
class Subject:
    """The revision that bakes.

    Attributes
    ----------
    pods
        Its pods that are not going away.
    wanted
        Its full size.
    restarts_before
        Container restarts when the bake began.
    addresses
        Base URL of each pod by its name.
    """

    namespace: str
    name: str
    model: str
    revision: Revision
    pods: tuple[PodView, ...]
    wanted: int
    restarts_before: int
    addresses: Mapping[str, str]
    golden: Golden | None

    @property
    def ready(self) -> tuple[PodView, ...]:
        """Its ready pods."""
        return tuple(pod for pod in self.pods if pod.ready)


def result(name: str, outcome: Outcome, message: str, value: float | None = None) -> CheckResult:
    """The result of one check."""
    return CheckResult(name=name, outcome=outcome.value, value=value, message=message)
