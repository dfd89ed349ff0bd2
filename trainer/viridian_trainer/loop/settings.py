"""What a loop is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from viridian_trainer.spec import Data, Gate


@dataclass(frozen=True)
class LoopSettings:
    """``interval`` and ``first`` are entries of the log: how many an update adds to what was tried before,
    and how many the first one takes. Every ``full_every``-th promoted update trains anew on everything
    (0: never). ``evidence`` keeps predictions and report of every evaluation.
    """

    model: str
    data: Data
    checkpoints: Path
    interval: int
    first: int
    full_every: int = 0
    config: dict[str, Any] = field(default_factory=dict)
    gate: Gate = field(default_factory=Gate)
    seed: int = 7
    evidence: bool = True
