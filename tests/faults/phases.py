"""Cells of tests that are made for each phase of an update, and how an update gets to each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

AWAITING, BACK = "AwaitingApproval", "RollingBack"
#: no version passes it, however healthy it is: who calls the model has no part in the way back
_IN_VAIN = {"name": "in-vain", "failureLimit": 0, "probe": {"path": "/v2/health/live", "expect": {"status": 404}}}
#: changes of the spec without which an update never is in a phase
LEADING_TO: dict[str, dict[str, Any]] = {
    AWAITING: {"rollout": {"approval": {"mode": "Manual"}}},
    BACK: {"rollout": {"healthChecks": [_IN_VAIN]}},
}


def cells(phases: Iterable[str], *lean: str) -> list[Any]:
    """Every one of ``phases``; those that are not ``lean`` are run by the whole suite only."""
    return [pytest.param(phase, id=phase, marks=() if phase in lean else pytest.mark.thorough) for phase in phases]
