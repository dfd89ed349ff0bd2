"""One health check: at once where the pass has seen enough, by questions elsewhere."""

from __future__ import annotations

from viridian_operator.api.health import HealthCheck
from viridian_operator.api.status import CheckResult
from viridian_operator.observe.checks.golden import check_golden
from viridian_operator.observe.checks.latency import check_latency
from viridian_operator.observe.checks.probe import check_probe
from viridian_operator.observe.checks.prometheus import check_prometheus
from viridian_operator.observe.checks.ready import check_ready
from viridian_operator.observe.checks.restarts import check_restarts
from viridian_operator.observe.checks.subject import Outcome, Subject, result
from viridian_operator.observe.prober import Prober


def look(check: HealthCheck, subject: Subject) -> CheckResult | None:
    """The result of a check that asks nobody; None for all others."""
    if check.ready_percent is not None:
        return check_ready(check.name, check.ready_percent, subject)
    if check.max_restarts is not None:
        return check_restarts(check.name, check.max_restarts, subject)
    return None


async def ask(check: HealthCheck, subject: Subject, prober: Prober) -> CheckResult:
    """The result of a check that asks pods or Prometheus, which may take as long as they like."""
    if check.golden:
        return await check_golden(check.name, subject, prober)
    if check.probe is not None:
        return await check_probe(check.name, check.probe, subject, prober)
    if check.latency is not None:
        return await check_latency(check.name, check.latency, subject, prober)
    if check.prometheus is not None:
        return await check_prometheus(check.name, check.prometheus, subject, prober)
    return result(check.name, Outcome.ERRORED, "the check is of no known kind")
