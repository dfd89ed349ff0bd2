"""Cheap checks find broken weights whatever the metrics say, and find nothing in a healthy candidate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from worlds import data, following, parquet, rows, train_in, training

from viridian_model.bundle import Bundle
from viridian_model.contract import RankingModel
from viridian_model.schema import Schema
from viridian_trainer.eventlog import Window, read
from viridian_trainer.eventlog.dedup import RecentIds
from viridian_trainer.gate.hygiene import Inputs, Subject, failed_checks
from viridian_trainer.gate.scoring import score


class Pair:
    """A champion, its healthy successor, and the events that were held out."""

    def __init__(self, folder: Path) -> None:
        log = parquet(folder / "log", rows(0, 3000))
        task = training(log, folder / "log")
        first, self.champion = train_in(folder / "r", task, log)
        parquet(folder / "log", rows(3000, 2000))
        second, self.candidate = train_in(folder / "r", following(task, first, log), log)
        self.schema: Schema = data(folder / "log").event_schema
        self.entries = list(read(log, Window.parse(second["holdout"]), self.schema))

    def failed(self, damage: Callable[[RankingModel], Any] = lambda _: None, **changes: Any) -> set[str]:
        """Names of the checks that a damaged candidate fails."""
        models = {"candidate": self.candidate.load_model(), "champion": self.champion.load_model()}
        with torch.no_grad():
            damage(models["candidate"])
        holdout, scores = score(self.entries, RecentIds(), models, ())

        def subject(name: str, bundle: Bundle) -> Subject:
            return Subject(models[name], scores[name], bundle.manifest.signature)

        inputs = Inputs(
            candidate=subject("candidate", self.candidate),
            champion=subject("champion", self.champion),
            golden=self.candidate.golden,
            schema=self.schema,
            labels=holdout.labels,
        )
        return set(failed_checks(replace(inputs, **changes)))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return Pair(tmp_path_factory.mktemp("hygiene"))


def users(model: RankingModel) -> torch.Tensor:
    return model.embedding_tables()["user"].weight


def bias(model: RankingModel) -> torch.Tensor:
    return dict(model.named_parameters())["bias"]


def test_a_healthy_candidate_fails_nothing(pair: Pair) -> None:
    assert pair.failed() == set()
    assert pair.failed(champion=None) == set()


@pytest.mark.parametrize(
    ("damage", "check"),
    [
        (lambda model: users(model)[3, 0].fill_(torch.nan), "finite-weights"),
        (lambda model: bias(model).fill_(torch.inf), "finite-weights"),
        (lambda model: [table.weight.mul_(1e25) for table in model.embedding_tables().values()], "finite-predictions"),
        (lambda model: users(model).mul_(100), "norm-jump"),
        (lambda model: bias(model).add_(3), "mean-logit"),
        (lambda model: bias(model).add_(0.1), "golden"),
    ],
)
def test_damaged_weights_are_found(pair: Pair, damage: Callable[[RankingModel], Any], check: str) -> None:
    assert check in pair.failed(damage)


def test_a_first_model_is_held_against_the_base_rate(pair: Pair) -> None:
    assert "mean-logit" in pair.failed(lambda model: bias(model).add_(3), champion=None)


def test_inputs_must_be_those_declared(pair: Pair) -> None:
    assert pair.failed(schema=Schema(categorical=("user", "item"))) == {"schema"}


def test_forgotten_users_are_found(pair: Pair) -> None:
    def forget(model: RankingModel) -> None:
        table = model.embedding_tables()["user"]
        state = {"weight": table.weight[:1].clone(), "ids": table.ids[:1]}
        table.load_state_dict(state)

    assert "unknown-ids" in pair.failed(forget)
