"""The gate: intervals cover, twins pass, poison does not, and the verdict follows its order."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest

from viridian_model.schema import Schema
from viridian_operator.api import gate as api
from viridian_trainer.errors import BadConfig
from viridian_trainer.gate.evaluate import judge
from viridian_trainer.gate.metrics import metrics_of
from viridian_trainer.gate.scoring import Holdout, Scores
from viridian_trainer.gate.slices import heavy_users, masks
from viridian_trainer.gate.statistics import (
    Difference,
    auroc_difference,
    log_losses,
    loss_difference,
    weighted_auroc,
)
from viridian_trainer.gate.verdict import Compared, Evidence, Outcome, Verdict, decide_verdict
from viridian_trainer.result import encode
from viridian_trainer.spec import METRICS, Gate, Slice, parse_part
from viridian_trainer.window import tail_size

GOOD = Difference(0.01, 0.005, 0.015, 0.006, 5000, 500)


def difference(low: float, high: float, **changes: Any) -> Difference:
    return replace(GOOD, mean=(low + high) / 2, low=low, high=high, **changes)


def evidence(low: float = 0.005, high: float = 0.015, **changes: Any) -> Evidence:
    found = Evidence(
        events=5000,
        metrics={"auroc": 0.7, "logloss": 0.5},
        hygiene=(),
        against_champion=Compared(difference(low, high), 0.002),
        against_reference=None,
        against_baseline=Compared(GOOD, 0.002),
        slices={},
    )
    return replace(found, **changes)


WORSE = Compared(difference(-0.02, -0.01), 0.002)
UNCLEAR = Compared(difference(-0.01, 0.01), 0.002)
SMALL = Compared(difference(-0.2, -0.1, events=40), 0.002)


@pytest.mark.parametrize(
    ("given", "outcome", "reason"),
    [
        (evidence(), "Pass", "NonInferior"),
        (evidence(-0.0019, 0.01), "Pass", "NonInferior"),
        (evidence(-0.0019, -0.0001), "Pass", "NonInferior"),  # worse, but surely not by more than the margin
        (evidence(-0.01, -0.0001), "Reject", "Worse"),
        (evidence(-0.01, 0.01), "Inconclusive", "NotProven"),
        (evidence(events=1999), "Inconclusive", "TooFewEvents"),
        (evidence(events=10, hygiene=("golden",)), "Reject", "HygieneFailed"),
        (evidence(metrics={"auroc": 0.59}), "Reject", "FloorMissed"),
        (evidence(metrics={"auroc": math.nan}), "Reject", "FloorMissed"),
        (evidence(metrics={}), "Reject", "FloorMissed"),
        (evidence(slices={"new": WORSE}), "Reject", "SliceWorse"),
        (evidence(slices={"new": UNCLEAR}), "Pass", "NonInferior"),
        (evidence(slices={"new": SMALL}), "Pass", "NonInferior"),
        (evidence(slices={"new": replace(WORSE, margin=0.03)}), "Pass", "NonInferior"),
        (evidence(against_reference=WORSE), "Reject", "WorseThanReference"),
        (evidence(against_reference=UNCLEAR), "Inconclusive", "NotProven"),
        (evidence(against_champion=None), "Pass", "FirstModel"),
        (evidence(against_champion=None, against_baseline=WORSE), "Reject", "WorseThanBaseline"),
        (evidence(against_champion=None, against_baseline=UNCLEAR), "Inconclusive", "NotProven"),
        (evidence(tail=Compared(GOOD, 0.01)), "Pass", "NonInferior"),
        (evidence(tail=WORSE), "Reject", "TailWorse"),
        (evidence(tail=UNCLEAR), "Inconclusive", "NotProven"),
        (evidence(-0.01, -0.0001, tail=UNCLEAR), "Reject", "Worse"),
        (evidence(-0.01, 0.01, tail=WORSE), "Reject", "TailWorse"),
        (evidence(against_champion=None, tail=WORSE), "Reject", "TailWorse"),
        (evidence(against_champion=None, tail=UNCLEAR), "Inconclusive", "NotProven"),
    ],
)
def test_verdicts(given: Evidence, outcome: str, reason: str) -> None:
    verdict = decide_verdict(given, 2000, {"auroc": 0.6})
    assert (verdict.outcome, verdict.reason) == (outcome, reason)


def test_floors_of_losses_are_ceilings() -> None:
    assert decide_verdict(evidence(), 1, {"logloss": 0.6}).outcome is Outcome.PASS
    assert decide_verdict(evidence(), 1, {"logloss": 0.4}).failed == ("logloss",)


class Clicks:
    """Events of users with habits of their own, and two noisy models of them."""

    def __init__(self, seed: int, events: int, users: int) -> None:
        self.generator = np.random.default_rng(seed)
        self.users = (users * self.generator.random(events) ** 2).astype(np.int64)
        habit = self.generator.normal(0, 0.8, users)
        self.truth = -0.7 + habit[self.users] + self.generator.normal(0, 0.8, events)
        self.labels = (self.generator.random(events) < 1 / (1 + np.exp(-self.truth))).astype(float)
        self._users = users

    def model(self, noise: float = 0.4) -> np.ndarray[Any, Any]:
        """Logits with errors that the events of one user share in part."""
        own = self.generator.normal(0, noise, self._users)[self.users]
        return self.truth + own + self.generator.normal(0, noise, len(self.truth))


def with_tail(seed: int, damage: Callable[[Any], Any]) -> Verdict:
    """The verdict on equal twins over 5000 events, of which the last fifth judges damaged final weights."""
    clicks = Clicks(seed, 5000, 750)
    champion, candidate = clicks.model(), clicks.model()
    tail = np.arange(5000) >= 5000 - tail_size(5000)
    logits = {"champion": champion, "candidate": np.where(tail, damage(candidate), candidate), "baseline": 0 * champion}
    ids, times = [str(n) for n in range(5000)], np.arange(5000.0)
    holdout = Holdout(ids, times, clicks.users, clicks.users, clicks.labels, {}, 0, 0)
    return judge(Gate(margin=0.02), f"sha256:{seed:08x}", holdout, logits, {}, {}, tail).verdict


def test_a_tail_lets_twins_pass_and_finds_gross_damage_of_the_final_weights() -> None:
    twins = [with_tail(seed, lambda logits: logits).outcome for seed in range(30)]
    assert twins.count(Outcome.PASS) >= 24
    assert twins.count(Outcome.REJECT) <= 1
    for damage in (lambda logits: -logits, lambda logits: 3 * logits):
        found = [with_tail(seed, damage) for seed in range(10)]
        assert {verdict.reason for verdict in found} == {"TailWorse"}


def test_identical_models_pass_with_any_margin() -> None:
    clicks = Clicks(1, 800, 50)
    losses = log_losses(clicks.model(), clicks.labels)
    found = loss_difference(losses, losses, clicks.users, 0.95, 0)
    whole = evidence(events=800, against_champion=Compared(found, 0.0001))
    assert decide_verdict(whole, 500, {}).outcome is Outcome.PASS


def test_one_user_proves_nothing_and_infinite_losses_are_no_number() -> None:
    losses = np.array([0.1, 0.2, 0.3])
    one = loss_difference(losses, losses * 2, np.zeros(3, dtype=np.int64), 0.95, 0)
    assert (one.low, one.high) == (-math.inf, math.inf)
    broken = loss_difference(losses, losses * np.inf, np.arange(3), 0.95, 0)
    assert (broken.low, broken.high) == (-math.inf, math.inf)


def test_weighted_auroc_agrees_with_the_library_and_counts_copies() -> None:
    from torch import tensor
    from torchmetrics.functional.classification import binary_auroc

    clicks = Clicks(3, 400, 50)
    scores = np.round(clicks.model(), 1)  # with ties
    copies = clicks.generator.integers(0, 4, 400)
    expected = binary_auroc(
        tensor(np.repeat(scores, copies)).sigmoid(), tensor(np.repeat(clicks.labels, copies)).long()
    )
    assert weighted_auroc(scores, clicks.labels, copies[None].astype(float))[0] == pytest.approx(
        float(expected), abs=1e-6
    )


def test_auroc_finds_the_better_order() -> None:
    clicks = Clicks(4, 5000, 400)
    found = auroc_difference(clicks.model(1.5), clicks.model(0.1), clicks.labels, clicks.users, 0.95, 0)
    assert found.low > 0
    assert found.low < found.mean < found.high


def test_a_verdict_over_five_thousand_events_takes_less_than_a_second() -> None:
    clicks = Clicks(5, 5000, 2000)
    models = clicks.model(), clicks.model()
    losses = [log_losses(model, clicks.labels) for model in models]
    begun = time.process_time()
    loss_difference(losses[0], losses[1], clicks.users, 0.95, 0)
    assert time.process_time() - begun < 1.0


def test_heavy_users_are_the_tenth_with_most_events() -> None:
    users = np.repeat(np.arange(20), np.arange(1, 21))
    assert set(users[heavy_users(users)]) == {18, 19}


def test_known_and_new_are_told_apart_by_the_tables_of_users_and_items() -> None:
    kinds = {"NewUsers": "user", "KnownUsers": "user", "NewItems": "item", "KnownItems": "item"}
    unknown = {"user": np.array([True, False, False]), "item": np.array([False, False, True])}
    column = np.arange(3)
    events = Holdout(["a", "b", "c"], column.astype(float), column, column, np.zeros(3), {}, 0, 0)
    slices = [Slice(name=kind, kind=kind) for kind in kinds]
    found = masks(slices, events, Scores(np.zeros(3), unknown), Schema())
    assert {name: mask.tolist() for name, mask in found.items()} == {
        "NewUsers": [True, False, False],
        "KnownUsers": [False, True, True],
        "NewItems": [False, False, True],
        "KnownItems": [True, True, False],
    }
    with pytest.raises(BadConfig, match="slice NewItems needs a model with an embedding table item"):
        masks(slices[2:], events, Scores(np.zeros(3), {"user": unknown["user"]}), Schema())


def test_the_operator_offers_the_metrics_and_slices_that_the_trainer_knows() -> None:
    assert api.METRICS == METRICS
    assert set(metrics_of(np.zeros(4), np.array([0.0, 1.0, 0.0, 1.0]))) == set(METRICS)
    assert [kind.value for kind in api.SliceKind] == list(get_args(Slice.model_fields["kind"].annotation))


def test_a_floor_for_an_unknown_metric_is_refused_before_anything_is_trained() -> None:
    with pytest.raises(BadConfig, match=r"spec.gate.floors: unknown metric aurco: write any of logloss, auroc"):
        parse_part(Gate, {"floors": {"aurco": 0.6}}, "spec.gate")


def test_long_results_keep_what_is_decided_from() -> None:
    offsets = {str(n): f"{10**7 + n}@1732453000000-{n}" for n in range(40)}
    long = {"task": "Train", "digest": "sha256:" + "0" * 64, "trainedTo": offsets, "message": "x" * 9000}
    long |= {"failed": ["slice"] * 400, "metrics": {str(n): 0.5 for n in range(300)}}
    text = encode(long)
    assert len(text) <= 4096
    assert b"10000039@1732453000000-39" in text
