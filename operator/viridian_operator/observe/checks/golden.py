"""``golden``: golden requests of the bundle, to every ready pod."""

from __future__ import annotations

import asyncio

from viridian_operator.api.status import CheckResult
from viridian_operator.observe.checks.subject import Outcome, Subject, result
from viridian_operator.observe.golden import ask_golden
from viridian_operator.observe.prober import Prober


async def check_golden(name: str, subject: Subject, prober: Prober) -> CheckResult:
    """Fails if a pod answers wrongly; a pod that does not answer is an error of the check."""
    golden = subject.golden
    if golden is None:
        return result(name, Outcome.ERRORED, "the record of the revision holds no golden requests")
    if not golden.requests:
        return result(name, Outcome.INCONCLUSIVE, "the version has no golden requests")
    if not subject.ready:
        return result(name, Outcome.INCONCLUSIVE, "no pod is ready")
    asked = (ask_golden(prober, subject.addresses[pod.name], subject.model, golden) for pod in subject.ready)
    answers = dict(zip((pod.name for pod in subject.ready), await asyncio.gather(*asked), strict=True))
    if wrong := [f"{pod}: {text}" for pod, text in answers.items() if text]:
        return result(name, Outcome.FAILED, "; ".join(wrong[:3]), float(len(wrong)))
    if silent := [pod for pod, text in answers.items() if text is None]:
        return result(name, Outcome.ERRORED, f"no answer from {', '.join(silent[:3])}", float(len(silent)))
    return result(name, Outcome.PASSED, f"{len(answers)} pods answered rightly", 0.0)
