"""All health checks of an interval, at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from viridian_operator.api.rollout import HealthCheck
from viridian_operator.api.status import CheckResult
from viridian_operator.observe.checks.golden import check_golden
from viridian_operator.observe.checks.probe import check_probe
from viridian_operator.observe.checks.prometheus import check_prometheus
from viridian_operator.observe.checks.ready import check_ready
from viridian_operator.observe.checks.restarts import check_restarts
from viridian_operator.observe.checks.subject import Outcome, Subject, result
from viridian_operator.observe.prober import Prober


async def run_checks(checks: Sequence[HealthCheck], subject: Subject, prober: Prober) -> tuple[CheckResult, ...]:
    """One result per check, in their order."""
    return tuple(await asyncio.gather(*(_run(check, subject, prober) for check in checks)))


async def _run(check: HealthCheck, subject: Subject, prober: Prober) -> CheckResult:
    if check.ready_percent is not None:
        return check_ready(check.name, check.ready_percent, subject)
    if check.max_restarts is not None:
        return check_restarts(check.name, check.max_restarts, subject)
    if check.golden:
        return await check_golden(check.name, subject, prober)
    if check.probe is not None:
        return await check_probe(check.name, check.probe, subject, prober)
    if check.prometheus is not None:
        return await check_prometheus(check.name, check.prometheus, subject, prober)
    return result(check.name, Outcome.ERRORED, "the check is of no known kind")
