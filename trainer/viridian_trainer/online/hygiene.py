"""Checks that every delta passes before anybody sees it; each names what is wrong, or nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from viridian_model.chain.change import Change
from viridian_model.chain.state import ModelState
from viridian_model.inference import Golden
from viridian_trainer.gate.hygiene import LOGIT_SHIFT, NORM_FLOOR, NORM_JUMP
from viridian_trainer.gate.statistics import Floats

#: Greatest change of a dense tensor within one delta, as a share of its norm (at least `NORM_FLOOR`).
STEP_SHARE = 0.5


@dataclass(frozen=True)
class Baseline:
    """What the champion looks like: 99.9 % quantile of the row norms by table, norms of other tensors, and its answers
    to its golden requests.
    """

    rows: Mapping[str, float]
    tensors: Mapping[str, float]
    golden: Golden

    @classmethod
    def of(cls, champion: ModelState, golden: Golden) -> Baseline:
        """Look at the champion once."""
        rows = {name: float(np.quantile(_norms(table.values), 0.999)) for name, table in champion.tables.items()}
        return cls(rows, {name: _norm(value) for name, value in champion.tensors.items()}, golden)


@dataclass(frozen=True)
class Subject:
    """A change that may be published, what is served before it, and the answers after it."""

    change: Change
    served: ModelState
    golden: Golden


def failed_check(subject: Subject, baseline: Baseline) -> str:
    """The first check that does not hold, with one sentence, or nothing."""
    for name, check in CHECKS.items():
        if problem := check(subject, baseline):
            return f"{name}: {problem}"
    return ""


def _finite(subject: Subject, _: Baseline) -> str:
    arrays = {name: table.values for name, table in subject.change.tables.items()} | subject.change.tensors
    for name, values in arrays.items():
        if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
            return f"{name} holds NaN or infinity"
    return ""


def _row_norms(subject: Subject, baseline: Baseline) -> str:
    for name, table in subject.change.tables.items():
        limit = NORM_JUMP * max(baseline.rows.get(name, 0.0), NORM_FLOOR)
        if len(table.values) and (norm := float(_norms(table.values).max())) > limit:
            return f"a row of {name} has a norm of {norm:.1f}, at most {limit:.1f} is sound"
    return ""


def _tensor_norms(subject: Subject, baseline: Baseline) -> str:
    for name, value in subject.change.tensors.items():
        limit = NORM_JUMP * max(baseline.tensors.get(name, 0.0), NORM_FLOOR)
        if (norm := _norm(value)) > limit:
            return f"{name} has a norm of {norm:.1f}, at most {limit:.1f} is sound"
    return ""


def _step(subject: Subject, _: Baseline) -> str:
    for name, value in subject.change.tensors.items():
        before = subject.served.tensors[name]
        limit = STEP_SHARE * max(_norm(before), NORM_FLOOR)
        if (norm := _norm(value.astype(np.float64) - before)) > limit:
            return f"{name} moved by {norm:.2f} in one delta, at most {limit:.2f} is sound"
    return ""


def _logit_shift(subject: Subject, baseline: Baseline) -> str:
    shift = float((_logits(subject.golden) - _logits(baseline.golden)).mean())
    if not abs(shift) <= LOGIT_SHIFT:  # NaN fails too
        return f"the answers to the golden requests moved by {shift:+.2f} in the logit, at most {LOGIT_SHIFT} is sound"
    return ""


CHECKS: Mapping[str, Callable[[Subject, Baseline], str]] = {
    "finite": _finite,
    "row-norm": _row_norms,
    "tensor-norm": _tensor_norms,
    "step": _step,
    "logit-shift": _logit_shift,
}


def _norms(values: NDArray[Any]) -> Floats:
    found: Floats = np.linalg.norm(values.astype(np.float64), axis=1)
    return found


def _norm(value: NDArray[Any]) -> float:
    return float(np.linalg.norm(value.astype(np.float64)))


def finite(golden: Golden) -> bool:
    """Whether every answer is a number."""
    return bool(np.isfinite(_answers(golden)).all())


def _answers(golden: Golden) -> Floats:
    answers = [value for request in golden.requests for output in request.outputs for value in output["data"]]
    return np.array(answers, dtype=np.float64)


def _logits(golden: Golden) -> Floats:
    found = np.clip(_answers(golden), 1e-7, 1 - 1e-7)
    logits: Floats = np.log(found) - np.log1p(-found)
    return logits
