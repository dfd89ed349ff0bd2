"""``prometheus``: an instant query with limits on its value, or on its ratio to the previous revision's."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from viridian_operator.api.health import Baseline, Prometheus
from viridian_operator.api.status import CheckResult, Revision
from viridian_operator.observe.checks.limits import Limits, Previous, judge
from viridian_operator.observe.checks.subject import Outcome, Subject, result
from viridian_operator.observe.prober import Answer, Prober

TIMEOUT = 5.0


class QueryFailed(Exception):
    """Prometheus did not answer the query."""


async def check_prometheus(name: str, wanted: Prometheus, subject: Subject, prober: Prober) -> CheckResult:
    """No data and too few samples are inconclusive, a query that fails is an error; neither ever passes."""
    asking = _Asking(wanted, subject, prober)
    if missing := asking.missing_previous():
        return result(name, Outcome.INCONCLUSIVE, missing)
    if wanted.max is None and wanted.min is None and wanted.max_ratio is None:
        return result(name, Outcome.ERRORED, "the check has no limit")
    try:
        samples = await asking.samples(subject.revision)
        if problem := _too_few(samples, wanted):
            return result(name, Outcome.INCONCLUSIVE, problem).but(samples=samples)
        values = await asking.values(subject.revision)
        if problem := _untold(values):
            return result(name, Outcome.INCONCLUSIVE, problem).but(samples=samples)
        previous = await asking.previous()
    except QueryFailed as error:
        return result(name, Outcome.ERRORED, str(error))
    limits = Limits(max=wanted.max, min=wanted.min, max_ratio=wanted.max_ratio)
    return judge(name, values, limits, previous, samples=samples)


@dataclass(frozen=True)
class _Asking:
    wanted: Prometheus
    subject: Subject
    prober: Prober

    def missing_previous(self) -> str:
        """Why a query cannot be filled in; "" if it can."""
        asks = re.search(r"\{\{\s*previous", f"{self.wanted.query} {self.wanted.samples_query or ''}")
        return "the query names the previous revision, and there is none" if asks and not self.subject.previous else ""

    async def values(self, revision: Revision, at: datetime | None = None) -> list[float]:
        """Of the query for one revision."""
        return await self._ask(self.wanted.query, revision, at)

    async def samples(self, revision: Revision, at: datetime | None = None) -> float | None:
        """Behind the values; None if they are not counted."""
        if self.wanted.samples_query is None:
            return None
        found = await self._ask(self.wanted.samples_query, revision, at)
        return sum(value for value in found if not math.isnan(value))

    async def previous(self) -> Previous:
        """The value for the previous revision, at the same time or before it lost the traffic."""
        if self.wanted.max_ratio is None or self.subject.previous is None:
            return Previous(exists=self.subject.previous is not None)
        revision = self.subject.previous.revision
        before = self.wanted.baseline is Baseline.BEFORE_SWITCH
        at = self.subject.since if before else None
        samples, values = await self.samples(revision, at), await self.values(revision, at)
        problem = _too_few(samples, self.wanted) or _untold(values)
        if not problem:
            return Previous(max(values))
        hint = "" if before else "; without traffic it may have none, baseline: BeforeSwitch asks earlier"
        return Previous(problem=f"{problem} for the previous revision{hint}")

    async def _ask(self, query: str, revision: Revision, at: datetime | None) -> list[float]:
        return await _query(self.prober, self.wanted.url, filled(query, self.subject, revision), at)


def _untold(values: list[float]) -> str:
    if not values:
        return "the query returned no data"
    return "the query returned NaN" if any(math.isnan(value) for value in values) else ""


def _too_few(samples: float | None, wanted: Prometheus) -> str:
    if samples is None or wanted.min_samples is None or samples >= wanted.min_samples:
        return ""
    return f"only {samples:g} of {wanted.min_samples:g} samples"


def filled(query: str, subject: Subject, revision: Revision | None = None) -> str:
    """``query`` with its variables replaced, for the revision that bakes or another one."""
    about = revision or subject.revision
    previous = subject.previous.revision if subject.previous else None
    values = {
        "namespace": subject.namespace,
        "name": subject.name,
        "version": about.version,
        "revision": about.hash,
        "previousVersion": previous.version if previous else "",
        "previousRevision": previous.hash if previous else "",
    }
    for name, value in values.items():
        query = query.replace("{{" + name + "}}", value).replace("{{ " + name + " }}", value)
    return query


async def _query(prober: Prober, url: str, query: str, at: datetime | None) -> list[float]:
    asked = {"query": query} | ({"time": f"{at.timestamp():.3f}"} if at else {})
    answer = await prober.ask(f"{url.rstrip('/')}/api/v1/query", query=asked, seconds=TIMEOUT)
    return values_of(answer)


def values_of(answer: Answer) -> list[float]:
    """Values of a scalar or vector.

    Raises
    ------
    QueryFailed
        If there was no answer, or one that says that the query failed.
    """
    if answer.problem:
        raise QueryFailed(f"Prometheus did not answer: {answer.problem}")
    body = answer.json()
    if answer.status != 200 or not isinstance(body, Mapping) or body.get("status") != "success":
        said = body.get("error") if isinstance(body, Mapping) else answer.text[:120]
        raise QueryFailed(f"Prometheus answered {answer.status}: {said}")
    try:
        return _numbers(body["data"])
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise QueryFailed("the query must return a scalar or an instant vector") from error


def _numbers(data: Mapping[str, Any]) -> list[float]:
    found = data["result"]
    if data["resultType"] == "scalar":
        return [float(found[1])]
    return [float(series["value"][1]) for series in found]
