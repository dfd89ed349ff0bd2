"""What health checks look at, and what they can say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from viridian_operator.api.status import CheckResult, Revision
from viridian_operator.decide.observation import Outcome, PodView
from viridian_operator.observe.golden import Golden

__all__ = ["Outcome", "PreviousRevision", "Subject", "result"]


@dataclass(frozen=True)
class PreviousRevision:
    """The revision that stands by, with its pods that are not going away."""

    revision: Revision
    pods: tuple[PodView, ...]
    golden: Golden | None

    @property
    def ready(self) -> tuple[PodView, ...]:
        """Its ready pods."""
        return tuple(pod for pod in self.pods if pod.ready)


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
        Base URL of each pod by its name, also of the previous revision's.
    previous
        What it is compared with; None for the first version.
    since
        When the bake began.
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
    previous: PreviousRevision | None = None
    since: datetime | None = None

    @property
    def ready(self) -> tuple[PodView, ...]:
        """Its ready pods."""
        return tuple(pod for pod in self.pods if pod.ready)


def result(name: str, outcome: Outcome, message: str, value: float | None = None) -> CheckResult:
    """The result of one check."""
    return CheckResult(name=name, outcome=outcome.value, value=value, message=message)
