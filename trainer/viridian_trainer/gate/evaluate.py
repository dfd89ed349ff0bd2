"""The evaluation: predictions of all models for the same events, evidence, verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from viridian_model.bundle import Bundle
from viridian_model.contract import RankingModel
from viridian_model.errors import BundleError
from viridian_model.schema import Schema
from viridian_trainer.errors import GateInputMissing
from viridian_trainer.eventlog import EventLog, Window, check_present, read
from viridian_trainer.eventlog.dedup import RecentIds
from viridian_trainer.gate import hygiene
from viridian_trainer.gate.baseline import baseline_logits
from viridian_trainer.gate.evidence import Predicted, check_pairs
from viridian_trainer.gate.metrics import metrics_of
from viridian_trainer.gate.scoring import Holdout, Scores, joined, score
from viridian_trainer.gate.slices import Mask, fields_of, masks
from viridian_trainer.gate.statistics import (
    RESAMPLES,
    TAIL_RESAMPLES,
    Difference,
    Floats,
    auroc_difference,
    log_losses,
    loss_difference,
)
from viridian_trainer.gate.verdict import (
    SLICE_MARGIN_FACTOR,
    TAIL_ERROR_SHARE,
    Compared,
    Evidence,
    Verdict,
    decide_verdict,
    tail_margin,
)
from viridian_trainer.spec import Gate, Slice
from viridian_trainer.training.learner import recent_ids

CANDIDATE, CHAMPION, REFERENCE, BASELINE = "candidate", "champion", "reference", "baseline"


@dataclass(frozen=True)
class Judged:
    """A verdict with everything that led to it; logits ``[n]`` by model, the baseline included, and masks
    ``[n]`` by slice. ``tail`` ``[n]`` are the events that judge the final weights of the candidate, where the
    others were predicted before it trained on them.
    """

    verdict: Verdict
    evidence: Evidence
    metrics: Mapping[str, Mapping[str, float]]
    hygiene: Mapping[str, str]
    holdout: Holdout
    logits: Mapping[str, Floats]
    gate: Gate = field(default_factory=Gate)
    masks: Mapping[str, Mask] = field(default_factory=dict)
    tail: Mask | None = None

    @property
    def main(self) -> Mask:
        """The events that metrics and comparisons rest on: all but the tail."""
        return _main(self.holdout, self.tail)

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
    predicted: Predicted | None = None,
) -> Judged:
    """Judge ``candidate`` on the events of ``window``, which it never trained on, and on what it ``predicted``
    right before it trained on it.

    Raises
    ------
    BadConfig
        If the gate asks for what the events or models do not have.
    GateInputMissing
        If the weights of a bundle do not fit its model, or the predictions do not fit the event log.
    DataTrimmed
        If the log does not hold the window.
    """
    fields = fields_of(gate.slices, schema)
    bundles = {CANDIDATE: candidate, CHAMPION: champion, REFERENCE: reference}
    if reference is not None and champion is not None and reference.digest == champion.digest:
        bundles[REFERENCE] = None
    models = {name: _load(bundle) for name, bundle in bundles.items() if bundle is not None}
    check_present(log, Window(predicted.window.start, window.end) if predicted else window)
    kept = candidate.optimizer()
    untrained, final = score(read(log, window, schema), recent_ids(kept), models, fields)
    before, scores = _score_predicted(log, schema, predicted, models, fields) if predicted else (None, {})
    holdout = joined(before, untrained) if before else untrained
    found = _hygiene_inputs(bundles, models, final, schema, holdout)
    if before:
        found = replace(found, predicted=scores[CANDIDATE].logits)
    failed = hygiene.failed_checks(found) if len(holdout) else {}
    answers = {name: scores[name].followed_by(given) if before else given for name, given in final.items()}
    logits = {name: given.logits for name, given in answers.items()}
    logits[BASELINE] = baseline_logits(kept, before, untrained)
    chosen: Mapping[str, Mask] = {}
    if CHAMPION in answers and len(holdout) and not failed:
        chosen = masks(gate.slices, holdout, answers[CHAMPION], schema)
    tail = np.arange(len(holdout)) >= len(before) if before else None
    return judge(gate, candidate.digest, holdout, logits, failed, chosen, tail)


def _score_predicted(
    log: EventLog, schema: Schema, predicted: Predicted, models: Mapping[str, RankingModel], fields: list[str]
) -> tuple[Holdout, dict[str, Scores]]:
    """The events of the slice as the log has them, with the stored answers of the candidate and fresh ones of the
    other models, which are the same whenever they are given.
    """
    found = predicted.predictions
    others = {name: model for name, model in models.items() if name != CANDIDATE}
    known = RecentIds(found.known.tolist())
    holdout, scores = score(read(log, predicted.window, schema), known, others, fields)
    check_pairs(found, holdout.ids)
    return holdout, {**scores, CANDIDATE: Scores(found.logits, {})}


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
    tail: Mask | None = None,
) -> Judged:
    """The verdict, from what an evaluation stores: nothing here looks at a model or an event log.

    ``candidate`` is a digest, the seed of the bootstrap; ``logits`` are those of the models that took part
    and of the baseline; ``failed`` are the checks of hygiene; ``chosen`` are the events of each slice, ``tail``
    those that the final weights are judged by apart.
    """
    compare = _Comparison(gate, holdout, logits, int(candidate[-8:], 16), tail)
    main = _main(holdout, tail)
    labels = holdout.labels[main]
    metrics = {name: metrics_of(values[main], labels) for name, values in logits.items()} if len(labels) else {}
    evidence = Evidence(
        events=len(holdout),
        metrics=metrics.get(CANDIDATE, {}),
        hygiene=tuple(failed),
        against_champion=compare.whole(CHAMPION) if CHAMPION in logits else None,
        against_reference=compare.whole(REFERENCE) if REFERENCE in logits else None,
        against_baseline=compare.whole(BASELINE),
        slices={part.name: compare.part(part, chosen[part.name]) for part in gate.slices if part.name in chosen},
        tail=compare.tail_against(CHAMPION if CHAMPION in logits else BASELINE),
    )
    verdict = decide_verdict(evidence, gate.min_events, gate.floors)
    return Judged(verdict, evidence, metrics, failed, holdout, logits, gate, chosen, tail)


def tail_confidence(gate: Gate) -> float:
    """Of the interval that the final weights are judged by."""
    return 1 - TAIL_ERROR_SHARE * (1 - gate.confidence) / gate.looks


def _main(holdout: Holdout, tail: Mask | None) -> Mask:
    return np.ones(len(holdout), dtype=np.bool_) if tail is None else ~tail


@dataclass(frozen=True)
class _Comparison:
    """Compares the candidate with another model in the metric of the gate.

    The error probability is split over the looks, between the tail and all else where there is a tail, and that
    of the slices over the slices as well (Bonferroni).
    """

    gate: Gate
    holdout: Holdout
    logits: Mapping[str, Floats]
    seed: int
    tail: Mask | None

    def whole(self, other: str) -> Compared:
        """On all events but the tail."""
        share = 1.0 if self.tail is None else 1 - TAIL_ERROR_SHARE
        confidence = 1 - share * (1 - self.gate.confidence) / self.gate.looks
        return Compared(self._difference(other, _main(self.holdout, self.tail), confidence), self.gate.margin)

    def part(self, part: Slice, mask: Mask) -> Compared:
        """On the events of a slice, against the champion."""
        margin = SLICE_MARGIN_FACTOR * self.gate.margin if part.margin is None else part.margin
        confidence = 1 - (1 - self.gate.confidence) / (self.gate.looks * len(self.gate.slices))
        return Compared(self._difference(CHAMPION, mask & _main(self.holdout, self.tail), confidence), margin)

    def tail_against(self, other: str) -> Compared | None:
        """The final weights on the tail, if there is one."""
        if self.tail is None:
            return None
        found = self._difference(other, self.tail, tail_confidence(self.gate), TAIL_RESAMPLES)
        return Compared(found, tail_margin(self.gate.margin))

    def _difference(self, other: str, mask: Mask, confidence: float, resamples: int = RESAMPLES) -> Difference:
        if not mask.any():
            return Difference(0.0, float("-inf"), float("inf"), float("inf"), 0, 0)
        labels, users = self.holdout.labels[mask], self.holdout.users[mask]
        theirs, ours = self.logits[other][mask], self.logits[CANDIDATE][mask]
        if self.gate.metric == "auroc":
            return auroc_difference(theirs, ours, labels, users, confidence, self.seed, resamples)
        losses = log_losses(theirs, labels), log_losses(ours, labels)
        return loss_difference(*losses, users, confidence, self.seed, resamples)
