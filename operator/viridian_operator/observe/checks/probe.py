"""``probe``: a request that every ready pod must answer as expected."""

from __future__ import annotations

import asyncio

from viridian_operator.api.health import Expect, Probe
from viridian_operator.api.status import CheckResult
from viridian_operator.observe.checks.subject import Outcome, Subject, result
from viridian_operator.observe.prober import Answer, Prober


async def check_probe(name: str, probe: Probe, subject: Subject, prober: Prober) -> CheckResult:
    """Fails if a pod answers something else; a pod that does not answer is an error of the check."""
    if not subject.ready:
        return result(name, Outcome.INCONCLUSIVE, "no pod is ready")
    asked = (prober.ask(subject.addresses[pod.name] + probe.path, body=probe.body) for pod in subject.ready)
    answers = dict(zip((pod.name for pod in subject.ready), await asyncio.gather(*asked), strict=True))
    wrong = [f"{pod}: {text}" for pod, answer in answers.items() if (text := unexpected(answer, probe.expect))]
    if wrong:
        return result(name, Outcome.FAILED, "; ".join(wrong[:3]), float(len(wrong)))
    if silent := [f"{pod}: {answer.problem}" for pod, answer in answers.items() if answer.problem]:
        return result(name, Outcome.ERRORED, "; ".join(silent[:3]), float(len(silent)))
    return result(name, Outcome.PASSED, f"{len(answers)} pods answered as expected", 0.0)


def unexpected(answer: Answer, expect: Expect) -> str:
    """What is wrong with an answer; "" if nothing is, or if there was none."""
    if answer.problem:
        return ""
    if answer.status != expect.status:
        return f"status {answer.status} instead of {expect.status}"
    if expect.body_contains is not None and expect.body_contains not in answer.text:
        return f"the body does not contain {expect.body_contains[:60]!r}"
    return ""
