"""The evidence of a verdict: numbers for the operator, files for people and for later questions."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from viridian_trainer.environment import EvaluateInput, VersionRef
from viridian_trainer.gate.evaluate import BASELINE, CANDIDATE, CHAMPION, REFERENCE, Judged, tail_confidence
from viridian_trainer.gate.metrics import rounded
from viridian_trainer.gate.page import page
from viridian_trainer.gate.verdict import Compared

#: The part of a result that an evaluation adds.
Summary = dict[str, Any]

#: Prefixes of the columns of ``predictions.parquet`` that hold a model's logits and the events of a slice.
LOGIT, SLICE = "logit_", "slice_"
#: Column and comparison of the events that judge the final weights, after a prequential split.
TAIL = "tail"
EVIDENCE, PREDICTIONS, PAGE = "evidence.json", "predictions.parquet", "report.html"
#: Folder of the run that holds them.
FOLDER = "gate"

_SHORT = ("logloss", "auroc", "calibration", "ece")


def summary(judged: Judged) -> Summary:
    """Verdict, message and numbers of the contract."""
    difference = judged.deciding.difference
    metrics = {name: _short(values, name) for name, values in judged.metrics.items()}
    return {
        "verdict": str(judged.verdict.outcome),
        "reason": judged.verdict.reason,
        "message": message(judged),
        "metrics": {name: values for name, values in metrics.items() if values},
        "difference": _wire(judged.deciding),
        "events": len(judged.holdout),
        "users": difference.users,
        "failed": list(judged.verdict.failed),
        **({"tail": _sized(tail)} if (tail := judged.evidence.tail) else {}),
    }


def message(judged: Judged) -> str:
    """One sentence that explains the verdict to people."""
    reason = judged.verdict.reason
    if reason == "HygieneFailed":
        return "; ".join(f"{name}: {problem}" for name, problem in judged.hygiene.items())
    if reason == "TooFewEvents":
        return f"{len(judged.holdout)} events to judge by, gate.minEvents asks for {judged.gate.min_events}"
    if reason == "FloorMissed":
        return "; ".join(_floor(judged, name) for name in judged.verdict.failed)
    if reason == "SliceWorse":
        return "; ".join(
            f"slice {name}: {_comparison(judged.evidence.slices[name], judged.gate.confidence)}"
            for name in judged.verdict.failed
        )
    if reason == "TailWorse" or judged.verdict.failed == ("tail",):
        return _final(judged)
    if reason == "WorseThanReference" or judged.verdict.failed == ("reference",):
        return _against(judged, REFERENCE, judged.evidence.against_reference)
    other = CHAMPION if judged.evidence.against_champion else BASELINE
    return _against(judged, other, judged.deciding)


def artifacts(judged: Judged, task: EvaluateInput, folder: Path) -> list[Path]:
    """Write ``evidence.json``, ``predictions.parquet`` and ``report.html`` into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    evidence = folder / EVIDENCE
    evidence.write_text(json.dumps(_evidence(judged, task), indent=1, sort_keys=True))
    predictions = folder / PREDICTIONS
    pq.write_table(_predictions(judged), predictions, compression="zstd")
    report = folder / PAGE
    versions = {name: ref.version for name, ref in _versions(task).items()}
    report.write_text(page(judged, task.model_name, versions, message(judged)), encoding="utf-8")
    return [evidence, predictions, report]


def _floor(judged: Judged, name: str) -> str:
    value = judged.evidence.metrics.get(name, math.nan)
    return f"{name} is {value:.4f}, the floor is {judged.gate.floors[name]:g}"


def _against(judged: Judged, name: str, compared: Compared | None) -> str:
    if compared is None:
        return ""
    metric = judged.gate.metric
    ours, theirs = judged.metrics[CANDIDATE].get(metric, math.nan), judged.metrics[name].get(metric, math.nan)
    return f"{metric} {ours:.4f} against {theirs:.4f} of the {name}: {_comparison(compared, judged.gate.confidence)}"


def _final(judged: Judged) -> str:
    """How the weights that would serve did on the tail."""
    tail = judged.evidence.tail
    if tail is None:
        return ""
    what = f"final weights on the {tail.difference.events} events kept back"
    return f"{what}, {judged.gate.metric}: {_comparison(tail, tail_confidence(judged.gate))}"


def _comparison(compared: Compared, confidence: float) -> str:
    difference = compared.difference
    word = "better" if difference.mean >= 0 else "worse"
    return (
        f"{word} by {abs(difference.mean):.4f} ({100 * confidence:.4g}% interval {difference.low:.4f} to "
        f"{difference.high:.4f}, margin {compared.margin:g})"
    )


def _short(values: Any, name: str) -> dict[str, float]:
    wanted = ("logloss",) if name == BASELINE else _SHORT
    return {key: value for key, value in rounded(values, 5).items() if key in wanted}


def _wire(compared: Compared) -> dict[str, float | None]:
    difference = compared.difference
    values = {
        "mean": difference.mean,
        "low": difference.low,
        "high": difference.high,
        "margin": compared.margin,
        "minimumDetectable": difference.minimum_detectable,
    }
    return {name: round(value, 6) if math.isfinite(value) else None for name, value in values.items()}


def comparisons(judged: Judged) -> dict[str, Any]:
    """Every comparison as JSON: with the other models, and by slice."""
    compared = {
        CHAMPION: judged.evidence.against_champion,
        REFERENCE: judged.evidence.against_reference,
        BASELINE: judged.evidence.against_baseline,
        TAIL: judged.evidence.tail,
    }
    slices = judged.evidence.slices.items()
    return {
        "comparisons": {name: _wire(part) for name, part in compared.items() if part},
        "slices": {name: _sized(part) for name, part in slices},
    }


def _sized(compared: Compared) -> dict[str, float | None]:
    return {**_wire(compared), "events": compared.difference.events, "users": compared.difference.users}


def _versions(task: EvaluateInput) -> dict[str, VersionRef]:
    """The models that are registered versions."""
    versions = {CANDIDATE: task.candidate, CHAMPION: task.parent, REFERENCE: task.reference}
    return {name: version for name, version in versions.items() if version}


def _evidence(judged: Judged, task: EvaluateInput) -> dict[str, Any]:
    return {
        **summary(judged),
        **comparisons(judged),
        "update": task.update.tag,
        "holdout": task.holdout.wire(),
        "predicted": task.predicted.wire() if task.predicted else None,
        "gate": judged.gate.model_dump(mode="json", by_alias=True),
        "versions": {name: vars(version) for name, version in _versions(task).items()},
        "metrics": {name: rounded(values) for name, values in judged.metrics.items()},
        "hygiene": dict(judged.hygiene),
        "duplicates": judged.holdout.duplicates,
        "rejected": judged.holdout.rejected,
    }


def _predictions(judged: Judged) -> pa.Table:
    holdout = judged.holdout
    columns: dict[str, Any] = {
        "id": holdout.ids,
        "time": holdout.times,
        "user": holdout.users,
        "item": holdout.items,
        "label": holdout.labels.astype(np.int8),
    }
    columns |= {f"{LOGIT}{name}": values for name, values in judged.logits.items()}
    columns |= {f"{SLICE}{name}": mask for name, mask in judged.masks.items()}
    columns |= {TAIL: judged.tail} if judged.tail is not None else {}
    return pa.table(columns)
