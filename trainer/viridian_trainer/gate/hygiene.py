"""Cheap checks that no candidate may fail, whatever its metrics: each names what is wrong, or nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from viridian_model.contract import RankingModel
from viridian_model.errors import WarmupFailed
from viridian_model.inference import Golden, check_golden
from viridian_model.schema import Schema, Signature
from viridian_trainer.gate.scoring import Scores
from viridian_trainer.gate.statistics import Floats

#: Greatest growth of the 99.9 % quantile of row norms of a table, or of the norm of a dense tensor.
NORM_JUMP = 10.0
#: Norms below this are compared as if they were this large.
NORM_FLOOR = 1.0
#: Greatest shift of the mean logit from the champion's, or from the log odds of the labels for a first model.
LOGIT_SHIFT = 1.5
#: Greatest rise of the fraction of events with an id that the model does not know.
UNKNOWN_RISE = 0.05


@dataclass(frozen=True)
class Subject:
    """A model, its answers on the holdout and what was declared about it."""

    model: RankingModel
    scores: Scores
    signature: Signature


@dataclass(frozen=True)
class Inputs:
    """What the checks look at; ``labels`` are those of all judged events, ``predicted`` the candidate's logits
    from before it trained on them.
    """

    candidate: Subject
    champion: Subject | None
    golden: Golden
    schema: Schema
    labels: Floats
    same_inputs_required: bool = field(default=True)
    predicted: Floats = field(default_factory=lambda: np.zeros(0))


def failed_checks(inputs: Inputs) -> dict[str, str]:
    """Names of the failed checks with one sentence each; all of them run unless numbers are not finite."""
    for name in ("finite-weights", "finite-predictions"):
        if problem := CHECKS[name](inputs):
            return {name: problem}
    found = {name: check(inputs) for name, check in CHECKS.items()}
    return {name: problem for name, problem in found.items() if problem}


def _finite_weights(inputs: Inputs) -> str:
    for name, tensor in inputs.candidate.model.state_dict().items():
        if torch.is_floating_point(tensor) and not bool(torch.isfinite(tensor).all()):
            return f"{name} holds NaN or infinity"
    return ""


def _finite_predictions(inputs: Inputs) -> str:
    answers = np.concatenate([inputs.predicted, inputs.candidate.scores.logits])
    wrong = int((~np.isfinite(answers)).sum())
    return f"{wrong} predictions are NaN or infinite" if wrong else ""


def _norms(inputs: Inputs) -> str:
    if inputs.champion is None:
        return ""
    before, after = (_norms_of(subject.model) for subject in (inputs.champion, inputs.candidate))
    for name in after.keys() & before.keys():
        jump = max(after[name], NORM_FLOOR) / max(before[name], NORM_FLOOR)
        if jump > NORM_JUMP:
            return f"the norm of {name} is {jump:.1f} times that of the champion"
    return ""


def _norms_of(model: RankingModel) -> dict[str, float]:
    tables = {id(table.weight): table for table in model.embedding_tables().values()}
    norms = {}
    for name, parameter in model.named_parameters():
        table = tables.get(id(parameter))
        values = parameter.detach().double().cpu()
        if table is None:
            norms[name] = float(values.norm())
        else:
            used = torch.cat([torch.zeros(1, dtype=torch.int64), table.id_rows])
            norms[name] = float(np.quantile(values[used].norm(dim=1).numpy(), 0.999))
    return norms


def _mean_logit(inputs: Inputs) -> str:
    logits = inputs.candidate.scores.logits
    if not len(logits):
        return ""
    expected = _expected_logit(inputs)
    shift = float(logits.mean()) - expected
    return f"the mean logit is {shift:+.2f} away from {expected:.2f}" if abs(shift) > LOGIT_SHIFT else ""


def _expected_logit(inputs: Inputs) -> float:
    if inputs.champion is not None:
        return float(inputs.champion.scores.logits.mean())
    rate = (float(inputs.labels.sum()) + 1) / (len(inputs.labels) + 2)
    return math.log(rate / (1 - rate))


def _unknown_ids(inputs: Inputs) -> str:
    if inputs.champion is None:
        return ""
    champion = _rates(inputs.champion.scores)
    for table, rate in _rates(inputs.candidate.scores).items():
        if rate > champion.get(table, 1.0) + UNKNOWN_RISE:
            return f"{rate:.1%} of the events have an unknown {table}, {champion[table]:.1%} with the champion"
    return ""


def _rates(scores: Scores) -> Mapping[str, float]:
    return {table: float(flags.mean()) for table, flags in scores.unknown.items() if len(flags)}


def _schema(inputs: Inputs) -> str:
    signature = inputs.candidate.signature
    declared = {*inputs.schema.categorical, *inputs.schema.numeric}
    if extra := {spec.name for spec in signature.inputs} - declared:
        return f"inputs {', '.join(sorted(extra))} are not in spec.data.schema"
    if inputs.same_inputs_required and inputs.champion and signature != inputs.champion.signature:
        return "inputs or outputs differ from those of the champion"
    return ""


def _golden(inputs: Inputs) -> str:
    try:
        check_golden(inputs.candidate.model, inputs.golden)
    except WarmupFailed as error:
        return error.message
    return ""


CHECKS: Mapping[str, Callable[[Inputs], str]] = {
    "finite-weights": _finite_weights,
    "finite-predictions": _finite_predictions,
    "norm-jump": _norms,
    "mean-logit": _mean_logit,
    "unknown-ids": _unknown_ids,
    "schema": _schema,
    "golden": _golden,
}
