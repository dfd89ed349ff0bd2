"""Cells of tests that are made for each phase of an update."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def cells(phases: Iterable[str], *lean: str) -> list[Any]:
    """Every one of ``phases``; those that are not ``lean`` are run by the whole suite only."""
    return [pytest.param(phase, id=phase, marks=() if phase in lean else pytest.mark.thorough) for phase in phases]
