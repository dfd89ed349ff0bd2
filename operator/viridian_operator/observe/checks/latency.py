"""``latency``: how long every pod takes to answer, of the new revision and of the previous one."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any

from viridian_operator.api.health import Latency
from viridian_operator.api.status import CheckResult
from viridian_operator.decide.observation import PodView
from viridian_operator.observe.checks.limits import Limits, Previous, judge
from viridian_operator.observe.checks.subject import Outcome, Subject, result
from viridian_operator.observe.golden import Golden, infer_url
from viridian_operator.observe.prober import TIMEOUT, Prober

#: seconds after which a pod is asked no more in this interval: what has come by then is enough to judge it
LONGEST = 20.0


@dataclass(frozen=True)
class Measured:
    """Times of one revision in milliseconds, and pods that gave none.

    A request that timed out is there with an endless time: no answer at all is slower than any limit.
    """

    times: tuple[float, ...] = ()
    silent: tuple[str, ...] = ()

    def problem(self, least: int) -> str:
        """Why nothing can be told from it; "" if something can."""
        if self.silent:
            return f"no answer from {'; '.join(self.silent[:3])}"
        return f"only {len(self.times)} of {least} samples" if len(self.times) < least else ""


async def check_latency(name: str, wanted: Latency, subject: Subject, prober: Prober) -> CheckResult:
    """Too few answers are inconclusive, a pod that gives none is an error; neither ever passes."""
    if not subject.ready:
        return result(name, Outcome.INCONCLUSIVE, "no pod is ready")
    questions = _questions(wanted, subject.golden, subject.model)
    if isinstance(questions, str):
        outcome = Outcome.ERRORED if subject.golden is None else Outcome.INCONCLUSIVE
        return result(name, outcome, questions)
    # at the same time, so that what slows the network or the node slows both
    own, before = await asyncio.gather(
        _measure(wanted, questions, subject.ready, subject, prober), _previous(wanted, subject, prober)
    )
    if problem := own.problem(wanted.min_samples):
        outcome = Outcome.ERRORED if own.silent else Outcome.INCONCLUSIVE
        return result(name, outcome, problem).but(samples=float(len(own.times)))
    limits = Limits(max=wanted.max, max_ratio=wanted.max_ratio, unit=" ms")
    value = quantile(own.times, wanted.quantile)
    return judge(name, [value], limits, before, samples=float(len(own.times)))


def quantile(times: tuple[float, ...], share: float) -> float:
    """The smallest of ``times`` that at least ``share`` of them do not exceed (nearest rank)."""
    return sorted(times)[max(0, math.ceil(share * len(times)) - 1)]


async def _previous(wanted: Latency, subject: Subject, prober: Prober) -> Previous:
    previous = subject.previous
    if wanted.max_ratio is None or previous is None:
        return Previous(exists=previous is not None)
    if not previous.ready:
        return Previous(problem="no pod of the previous revision is ready")
    questions = _questions(wanted, previous.golden, subject.model)
    if isinstance(questions, str):
        return Previous(problem=questions)
    measured = await _measure(wanted, questions, previous.ready, subject, prober)
    if problem := measured.problem(wanted.min_samples):
        return Previous(problem=problem)
    return Previous(quantile(measured.times, wanted.quantile))


#: path and body
_Question = tuple[str, Mapping[str, Any] | None]


def _questions(wanted: Latency, golden: Golden | None, model: str) -> list[_Question] | str:
    """What to ask, in turn, or why there is nothing."""
    if wanted.path is not None:
        return [(wanted.path, wanted.body)]
    if golden is None:
        return "the record of the revision holds no golden requests"
    if not golden.requests:
        return "the version has no golden requests: give the check a path"
    return [(infer_url("", model), {"inputs": request.get("inputs", [])}) for request in golden.requests]


async def _measure(
    wanted: Latency, questions: list[_Question], pods: tuple[PodView, ...], subject: Subject, prober: Prober
) -> Measured:
    seconds = max(TIMEOUT, 1.2 * (wanted.max or 0.0) / 1000)
    asked = (_ask(subject.addresses[pod.name], questions, wanted.requests, seconds, prober) for pod in pods)
    found = await asyncio.gather(*asked)
    silent = (f"{pod.name}: {why}" for pod, (times, why) in zip(pods, found, strict=True) if not times)
    return Measured(tuple(each for times, _ in found for each in times), tuple(silent))


async def _ask(
    address: str, questions: list[_Question], count: int, seconds: float, prober: Prober
) -> tuple[list[float], str]:
    """Times of the answers of one pod, and the last thing that was no answer."""
    times: list[float] = []
    problem, end = "", time.monotonic() + LONGEST
    for path, body in islice(cycle(questions), count):
        answer = await prober.ask(address + path, body=body, seconds=seconds)
        if answer.timed_out:
            times.append(math.inf)
        elif not answer.problem and answer.status < 400:
            times.append(answer.seconds * 1000)
        else:
            problem = answer.problem or f"status {answer.status}"
        if time.monotonic() > end:
            break
    return times, problem
