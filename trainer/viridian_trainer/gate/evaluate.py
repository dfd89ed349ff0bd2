"""The evaluation: predictions of all models for the same events, evidence, verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from viridian_model.bundle import Bundle
from viridian_model.contract import RankingModel
from viridian_model.errors import BundleError
from viridian_model.schema import Schema
from viridian_trainer.errors import BadConfig, GateInputMissing
from viridian_trainer.eventlog import EventLog, Window, check_present, read
from viridian_trainer.gate import hygiene
from viridian_trainer.gate.metrics import NAMES, metrics_of
from viridian_trainer.gate.scoring import Holdout, Scores, score
from viridian_trainer.gate.slices import Mask, fields_of, masks
from viridian_trainer.gate.statistics import (
    Difference,
    Floats,
    auroc_difference,
    log_losses,
    loss_difference,
)
from viridian_trainer.gate.verdict import SLICE_MARGIN_FACTOR, Compared, Evidence, Verdict, decide_verdict
from viridian_trainer.spec import Gate, Slice
from viridian_trainer.training.learner import recent_ids
from viridian_trainer.training.popularity import ItemCounts

CANDIDATE, CHAMPION, REFERENCE, BASELINE = "candidate", "champion", "reference", "baseline"


@dataclass(frozen=True)
class Judged:
    """A verdict with everything that led to it; logits ``[n]`` by model, the baseline included, and masks
    ``[n]`` by slice.
    """

    verdict: Verdict
    evidence: Evidence
    metrics: Mapping[str, Mapping[str, float]]
    hygiene: Mapping[str, str]
    holdout: Holdout
    logits: Mapping[str, Floats]
    gate: Gate = field(default_factory=Gate)
    masks: Mapping[str, Mask] = field(default_factory=dict)

    @property
    def deciding(self) -> Compared:
        """The comparison that the verdict rests on: with the champion, or with the baseline for a first
        model.
        """
        return self.evidence.against_champion or self.evidence.against_baseline


def evaluate(
    log: EventLog,
    window: Window,
    schema: Schema,
    gate: Gate,
    candidate: Bundle,
    champion: Bundle | None,
    reference: Bundle | None,
) -> Judged:
    """Judge ``candidate`` on the events of ``window``, which it never trained on.

    Raises
    ------
    BadConfig
        If the gate asks for what the events or models do not have.
    GateInputMissing
        If the weights of a bundle do not fit its model.
    DataTrimmed
        If the log does not hold the window.
    """
    _check(gate)
    fields = fields_of(gate.slices, schema)
    bundles = {CANDIDATE: candidate, CHAMPION: champion, REFERENCE: reference}
    if reference is not None and champion is not None and reference.digest == champion.digest:
        bundles[REFERENCE] = None
    models = {name: _load(bundle) for name, bundle in bundles.items() if bundle is not None}
    check_present(log, window)
    kept = candidate.optimizer()
    holdout, scores = score(read(log, window, schema), recent_ids(kept), models, fields)
    failed = hygiene.failed_checks(_hygiene_inputs(bundles, models, scores, schema, holdout)) if len(holdout) else {}
    rates = ItemCounts.load(kept).predict(holdout.items) if len(holdout) else np.zeros(0)
    logits = {name: answered.logits for name, answered in scores.items()}
    logits[BASELINE] = np.log(rates) - np.log1p(-rates)
    chosen: Mapping[str, Mask] = {}
    if CHAMPION in scores and len(holdout) and not failed:
        chosen = masks(gate.slices, holdout, scores[CHAMPION], schema.user)
    return judge(gate, candidate.digest, holdout, logits, failed, chosen)


def _check(gate: Gate) -> None:
    if gate.split == "Prequential":
        raise BadConfig("spec.gate.split: Prequential is not supported yet; set Holdout")
    if unknown := sorted(set(gate.floors) - set(NAMES)):
        raise BadConfig(f"spec.gate.floors: unknown metric {unknown[0]}; known are {', '.join(NAMES)}")


def _load(bundle: Bundle) -> RankingModel:
    try:
        return bundle.load_model()
    except BundleError as error:
        raise GateInputMissing(f"bundle {bundle.digest}: {error.message}") from error


def _hygiene_inputs(
    bundles: Mapping[str, Bundle | None],
    models: Mapping[str, RankingModel],
    scores: Mapping[str, Scores],
    schema: Schema,
    holdout: Holdout,
) -> hygiene.Inputs:
    subjects = {
        name: hygiene.Subject(models[name], scores[name], bundle.manifest.signature)
        for name, bundle in bundles.items()
        if bundle is not None
    }
    candidate = bundles[CANDIDATE]
    if candidate is None:
        raise GateInputMissing("there is no candidate")
    return hygiene.Inputs(
        candidate=subjects[CANDIDATE],
        champion=subjects.get(CHAMPION),
        golden=candidate.golden,
        schema=schema,
        labels=holdout.labels,
        same_inputs_required=candidate.manifest.kind == "Incremental",
    )


def judge(
    gate: Gate,
    candidate: str,
    holdout: Holdout,
    logits: Mapping[str, Floats],
    failed: Mapping[str, str],
    chosen: Mapping[str, Mask],
) -> Judged:
    """The verdict, from what an evaluation stores: nothing here looks at a model or an event log.

    ``candidate`` is a digest, the seed of the bootstrap; ``logits`` are those of the models that took part
    and of the baseline; ``failed`` are the checks of hygiene; ``chosen`` are the events of each slice.
    """
    compare = _Comparison(gate, holdout, logits, int(candidate[-8:], 16))
    metrics = {name: metrics_of(values, holdout.labels) for name, values in logits.items()} if len(holdout) else {}
    evidence = Evidence(
        events=len(holdout),
        metrics=metrics.get(CANDIDATE, {}),
        hygiene=tuple(failed),
        against_champion=compare.whole(CHAMPION) if CHAMPION in logits else None,
        against_reference=compare.whole(REFERENCE) if REFERENCE in logits else None,
        against_baseline=compare.whole(BASELINE),
        slices={part.name: compare.part(part, chosen[part.name]) for part in gate.slices if part.name in chosen},
    )
    verdict = decide_verdict(evidence, gate.min_events, gate.floors)
    return Judged(verdict, evidence, metrics, failed, holdout, logits, gate, chosen)


@dataclass(frozen=True)
class _Comparison:
    """Compares the candidate with another model in the metric of the gate.

    The error probability is split over the looks, and that of the slices over the slices as well
    (Bonferroni).
    """

    gate: Gate
    holdout: Holdout
    logits: Mapping[str, Floats]
    seed: int

    def whole(self, other: str) -> Compared:
        """On all events."""
        everything = np.ones(len(self.holdout), dtype=np.bool_)
        return Compared(self._difference(other, everything, self._confidence(1)), self.gate.margin)

    def part(self, part: Slice, mask: Mask) -> Compared:
        """On the events of a slice, against the champion."""
        margin = SLICE_MARGIN_FACTOR * self.gate.margin if part.margin is None else part.margin
        return Compared(self._difference(CHAMPION, mask, self._confidence(len(self.gate.slices))), margin)

    def _confidence(self, parts: int) -> float:
        return 1 - (1 - self.gate.confidence) / (self.gate.looks * parts)

    def _difference(self, other: str, mask: Mask, confidence: float) -> Difference:
        if not mask.any():
            return Difference(0.0, float("-inf"), float("inf"), float("inf"), 0, 0)
        labels, users = self.holdout.labels[mask], self.holdout.users[mask]
        theirs, ours = self.logits[other][mask], self.logits[CANDIDATE][mask]
        if self.gate.metric == "auroc":
            return auroc_difference(theirs, ours, labels, users, confidence, self.seed)
        losses = log_losses(theirs, labels), log_losses(ours, labels)
        return loss_difference(*losses, users, confidence, self.seed)
