"""The decision of the gate, as one pure function of the evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from viridian_trainer.gate.statistics import Difference

#: A slice may get worse by so many times the margin of the gate, where it has no margin of its own.
SLICE_MARGIN_FACTOR = 3.0
#: Slices with fewer events or users than this are shown and not judged.
SLICE_MIN_EVENTS, SLICE_MIN_USERS = 100, 10

#: With a prequential split: the part of the error probability that goes to the tail, and how many margins, and
#: how much at least in units of the metric, the final weights may be worse there. See docs/decisions/0007.
TAIL_ERROR_SHARE, TAIL_MARGIN_FACTOR, TAIL_MARGIN_LEAST = 0.2, 5.0, 0.01

#: Metrics of which less is better; a floor for them is the greatest value that is accepted.
LESS_IS_BETTER = frozenset({"logloss", "ece", "brier"})


class Outcome(StrEnum):
    """What the gate says."""

    PASS = "Pass"  # noqa: S105
    REJECT = "Reject"
    INCONCLUSIVE = "Inconclusive"


@dataclass(frozen=True)
class Compared:
    """One comparison and how much worse still counts as good."""

    difference: Difference
    margin: float

    @property
    def holds(self) -> bool:
        """The interval excludes "worse by more than the margin"."""
        return self.difference.low > -self.margin

    @property
    def is_worse(self) -> bool:
        """The interval excludes "not worse"."""
        return self.difference.high < 0


@dataclass(frozen=True)
class Evidence:
    """All that the verdict depends on.

    ``against_champion`` is absent for a first model, ``against_reference`` where there is none or it is the
    champion; ``hygiene`` names the checks that failed; ``metrics`` are those of the candidate; ``tail`` compares
    the final weights where all else rests on predictions made before training.
    """

    events: int
    metrics: Mapping[str, float]
    hygiene: Sequence[str]
    against_champion: Compared | None
    against_reference: Compared | None
    against_baseline: Compared
    slices: Mapping[str, Compared]
    tail: Compared | None = None


@dataclass(frozen=True)
class Verdict:
    """Outcome, reason of the contract, and the names of what did not hold."""

    outcome: Outcome
    reason: str
    failed: tuple[str, ...] = ()


def decide_verdict(evidence: Evidence, min_events: int, floors: Mapping[str, float]) -> Verdict:
    """Judge a candidate.

    In this order: hygiene, number of events, floors, slices; then the comparisons with champion, reference
    or, for a first model, with the popularity baseline; last the final weights on the tail. Non-inferiority wins
    over "worse" where both hold.
    """
    if evidence.hygiene:
        return Verdict(Outcome.REJECT, "HygieneFailed", tuple(evidence.hygiene))
    if evidence.events < min_events:
        return Verdict(Outcome.INCONCLUSIVE, "TooFewEvents")
    if missed := missed_floors(evidence.metrics, floors):
        return Verdict(Outcome.REJECT, "FloorMissed", missed)
    if evidence.against_champion is None:
        return _with_tail(_first_model(evidence.against_baseline), evidence.tail)
    if worse := tuple(name for name, part in evidence.slices.items() if slice_is_worse(part)):
        return Verdict(Outcome.REJECT, "SliceWorse", worse)
    return _with_tail(_compare(evidence.against_champion, evidence.against_reference), evidence.tail)


def missed_floors(metrics: Mapping[str, float], floors: Mapping[str, float]) -> tuple[str, ...]:
    """Names of the floors that ``metrics`` do not reach; an undefined metric reaches none."""
    return tuple(name for name, floor in floors.items() if not _reaches(name, metrics.get(name), floor))


def slice_is_worse(part: Compared) -> bool:
    """Whether a slice is surely worse, and by more than its margin as far as can be told.

    Small slices have wide intervals: to demand a proof that each holds would stop most good candidates.
    """
    difference = part.difference
    if difference.events < SLICE_MIN_EVENTS or difference.users < SLICE_MIN_USERS:
        return False
    return part.is_worse and difference.mean < -part.margin


def _reaches(name: str, value: float | None, floor: float) -> bool:
    if value is None:
        return False
    return value <= floor if name in LESS_IS_BETTER else value >= floor


def _first_model(baseline: Compared) -> Verdict:
    if baseline.difference.low > 0 or (baseline.holds and baseline.difference.mean > 0):
        return Verdict(Outcome.PASS, "FirstModel")
    if baseline.is_worse:
        return Verdict(Outcome.REJECT, "WorseThanBaseline", ("baseline",))
    return Verdict(Outcome.INCONCLUSIVE, "NotProven", ("baseline",))


def _compare(champion: Compared, reference: Compared | None) -> Verdict:
    if not champion.holds and champion.is_worse:
        return Verdict(Outcome.REJECT, "Worse", ("champion",))
    if reference is not None and not reference.holds and reference.is_worse:
        return Verdict(Outcome.REJECT, "WorseThanReference", ("reference",))
    if not champion.holds:
        return Verdict(Outcome.INCONCLUSIVE, "NotProven", ("champion",))
    if reference is not None and not reference.holds:
        return Verdict(Outcome.INCONCLUSIVE, "NotProven", ("reference",))
    return Verdict(Outcome.PASS, "NonInferior")


def tail_margin(margin: float) -> float:
    """How much worse than the champion the final weights may be on the tail, for a gate with ``margin``."""
    return max(TAIL_MARGIN_FACTOR * margin, TAIL_MARGIN_LEAST)


def _with_tail(verdict: Verdict, tail: Compared | None) -> Verdict:
    """Gross damage of the final weights must be excluded; where it is not, only a rejection stands."""
    if tail is None or tail.holds or verdict.outcome is Outcome.REJECT:
        return verdict
    if tail.is_worse:
        return Verdict(Outcome.REJECT, "TailWorse", ("tail",))
    return Verdict(Outcome.INCONCLUSIVE, "NotProven", (*verdict.failed, "tail"))
