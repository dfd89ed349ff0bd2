"""Candidates that predict every event of the newest slice before they train on it, and are judged by that."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from judging import Judged, with_split
from test_training import WAIT, checkpoints, command, stopping, wait_for
from typer.testing import CliRunner
from worlds import CONFIG, rows

from viridian_model.bundle import Bundle, read_bundle
from viridian_model.contract import RankingModel
from viridian_model.ids import id_hash
from viridian_trainer.cli.app import app
from viridian_trainer.errors import GateInputMissing
from viridian_trainer.evaluation_task import evaluate_task
from viridian_trainer.eventlog import Window, read
from viridian_trainer.folder_registry import FolderRegistry
from viridian_trainer.gate.evaluate import evaluate
from viridian_trainer.gate.evidence import Predicted
from viridian_trainer.gate.scoring import score
from viridian_trainer.training.learner import recent_ids
from viridian_trainer.training.popularity import ItemCounts
from viridian_trainer.training.predictions import Predictions

FAULTS = {"duplicates": 0.03, "late": 0.03}


def stored(world: Judged, result: Any) -> Predictions:
    return Predictions.decode(world.evidence(result).read_bytes())


@pytest.fixture
def world(tmp_path: Path) -> Judged:
    return Judged(tmp_path)


def test_predictions_are_those_of_the_weights_from_before_the_slice(world: Judged, tmp_path: Path) -> None:
    world.append(rows(0, 3000, **FAULTS))
    task = world.task(config={**CONFIG, "batchSize": 4096, "dropout": 0.2})  # the whole slice is one batch
    result, bundle = world.train(task)
    plain = with_split(world, tmp_path / "plain", "Holdout")
    held, before = plain.train(replace(task, split="Holdout", checkpoint_dir=tmp_path / "c"))
    predicted = Window(result["predictedFrom"], result["trainedTo"])
    assert predicted.start == held["trainedTo"]
    assert result["holdout"] == Window(predicted.end, task.window.end).wire()
    assert result["events"]["trained"] == held["events"]["trained"] + result["events"]["predicted"]

    entries = read(world.log, predicted, task.data.event_schema)
    events, scores = score(entries, recent_ids(before.optimizer()), {"before": before.load_model()}, ())
    assert events.duplicates > 0
    found = stored(world, result)
    assert found.events.tolist() == [id_hash(identity) for identity in events.ids]
    assert found.logits.tolist() == scores["before"].logits.tolist()
    assert len(found) == result["events"]["predicted"]
    assert bundle.manifest.merkle_root != before.manifest.merkle_root


def test_the_untrained_tail_is_the_head_of_the_next_window_and_every_event_is_trained_once(
    pair: tuple[Judged, Any, Any, Any],
) -> None:
    world, following, first, second = pair
    assert following.window.start == first["holdout"]["from"]
    where = ("--registry", str(world.folder / "r"), "--parquet", str(world.folder / "log"), "--model", "ctr")
    for verb, found in (("inspect", "exactly once"), ("replay", "bit for bit")):
        done = CliRunner().invoke(app, [verb, second["version"], *where])
        assert (done.exit_code, done.output.count(found)) == (0, 1), done.output


def test_a_training_that_stops_in_the_slice_goes_on_with_its_predictions(world: Judged, tmp_path: Path) -> None:
    world.append(rows(0, 3000, **FAULTS))
    task = world.task(config={**CONFIG, "dropout": 0.1})
    whole, _ = world.train(task)
    begins = whole["events"]["trained"] - whole["events"]["predicted"]
    again = with_split(world, tmp_path / "again", "Prequential")
    for after in (begins // 2, begins + 200, begins + 400):
        stopping(task, world.log, again.folder / "r", after)
    resumed, _ = again.train(task)
    assert resumed["digest"] == whole["digest"]
    assert again.evidence(resumed).read_bytes() == world.evidence(whole).read_bytes()


def test_a_training_killed_in_the_slice_ends_with_the_same_bits(tmp_path: Path) -> None:
    Judged(tmp_path).append(rows(0, 8000, **FAULTS))
    options = ("--gate", '{"split": "Prequential"}')
    data = ("--data", '{"schema": {"categorical": ["user", "item", "hour"]}, "holdout": {"fraction": 0.5}}')

    def run(name: str) -> list[str]:
        return [*command(tmp_path, name), *options, *data]

    def reached(name: str) -> int:
        return max((int(path.name.partition("-")[0]) for path in checkpoints(tmp_path, name)), default=0)

    subprocess.run(run("whole"), check=True, timeout=WAIT, capture_output=True)
    with subprocess.Popen(run("killed"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        wait_for(lambda: reached("killed") > 4500 or process.poll() is not None)
        process.send_signal(signal.SIGKILL)
        assert process.wait(WAIT) == -signal.SIGKILL
    assert FolderRegistry(tmp_path / "killed").newest("ctr") is None
    subprocess.run(run("killed"), check=True, timeout=WAIT, capture_output=True)
    found = [FolderRegistry(tmp_path / name).newest("ctr") for name in ("whole", "killed")]
    digests = {version.tags["viridian.digest"] for version in found if version is not None}
    assert len(digests) == 1


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Judged, Any, Any, Any]:
    """A champion and a healthy candidate with its task."""
    world = Judged(tmp_path_factory.mktemp("pair"))
    world.append(rows(0, 3000, **FAULTS))
    task = world.task()
    first, _ = world.train(task)
    world.append(rows(3000, 3000, **FAULTS))
    following = world.next(task, first)
    second, _ = world.train(following)
    return world, following, first, second


def test_the_report_and_the_stored_evidence_tell_the_slice_from_the_tail(
    pair: tuple[Judged, Any, Any, Any], tmp_path: Path
) -> None:
    world, task, first, second = pair
    slices = [{"name": "new", "kind": "NewUsers"}]
    verdict = world.judge(task, second, first, slices=slices)
    assert (verdict["verdict"], verdict["reason"]) == ("Pass", "NonInferior"), verdict
    assert verdict["events"] == second["events"]["predicted"] + verdict["tail"]["events"]
    assert verdict["tail"]["margin"] == 5 * verdict["difference"]["margin"]
    folder = world.folder / "r/runs" / verdict["runID"] / "gate"
    table = pq.read_table(folder / "predictions.parquet")
    tail = table["tail"].to_numpy()
    assert tail.sum() == verdict["tail"]["events"]
    assert table["logit_candidate"].to_numpy()[~tail].tolist() == stored(world, second).logits.tolist()
    assert "predicted right before" in (folder / "report.html").read_text()
    assert CliRunner().invoke(app, ["verdict", str(folder)]).exit_code == 0
    shutil.copytree(folder, tmp_path / "gate")
    pq.write_table(
        table.set_column(table.column_names.index("tail"), "tail", [~tail]), tmp_path / "gate/predictions.parquet"
    )
    assert CliRunner().invoke(app, ["verdict", str(tmp_path / "gate")]).exit_code == 65


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (flip_a_bit, "not those that its manifest names"),
        (lambda path: path.write_bytes(b""), "not those that its manifest names"),
        (lambda path: path.unlink(), "cannot be read"),
    ],
)
def test_altered_and_missing_evidence_is_refused(
    pair: tuple[Judged, Any, Any, Any], damage: Callable[[Path], Any], sentence: str
) -> None:
    world, task, first, second = pair
    path = world.evidence(second)
    genuine = path.read_bytes()
    try:
        damage(path)
        with pytest.raises(GateInputMissing, match=sentence) as refused:
            world.judge(task, second, first)
    finally:
        path.write_bytes(genuine)
    assert refused.value.exit_code == 3


def test_evidence_must_belong_to_the_events_of_the_log(pair: tuple[Judged, Any, Any, Any], tmp_path: Path) -> None:
    world, task, first, second = pair
    job = world.input(task, second, first)
    assert job.predicted is not None
    shorter = replace(job, predicted=Window(first["trainedTo"], second["trainedTo"]))
    with pytest.raises(GateInputMissing, match="another window"):
        evaluate_task(shorter, world.log, world.registry)
    with pytest.raises(GateInputMissing, match="did not predict"):
        evaluate_task(replace(job, candidate=held_out(world, task, tmp_path)), world.log, world.registry)
    history = [*rows(0, 3000, **FAULTS), *rows(3000, 3000, **FAULTS)]
    for name, changed, sentence in (("one", range(5700, 5701), "other events"), ("all", range(6000), "were predicted")):
        renamed = Judged(tmp_path / name)
        renamed.append([{**row, "id": f"x{row['id']}"} if n in changed else row for n, row in enumerate(history)])
        assert renamed.log.heads() == world.log.heads()
        with pytest.raises(GateInputMissing, match=sentence):
            evaluate_task(job, renamed.log, world.registry)


def held_out(world: Judged, task: Any, folder: Path) -> Any:
    """A version that was trained with the other split."""
    other = replace(task, split="Holdout", update=replace(task.update, number=99), checkpoint_dir=folder / "c")
    result, _ = world.train(other)
    return world.input(task, result, None).candidate


def test_labels_are_those_of_the_log(pair: tuple[Judged, Any, Any, Any], tmp_path: Path) -> None:
    world, task, first, second = pair
    relabelled = Judged(tmp_path)
    history = [*rows(0, 3000, **FAULTS), *rows(3000, 3000, **FAULTS)]
    relabelled.append([{**row, "label": 1 - row["label"]} for row in history])
    found = evaluate_task(world.input(task, second, first), relabelled.log, world.registry)
    assert found["metrics"]["candidate"]["auroc"] == pytest.approx(
        1 - world.judge(task, second, first)["metrics"]["candidate"]["auroc"], abs=1e-4
    )


class Damaged(Bundle):
    """A bundle whose weights hold NaN."""

    def load_model(self) -> RankingModel:
        model = super().load_model()
        with torch.no_grad():
            model.embedding_tables()["user"].weight[1, 0] = torch.nan
        return model


def test_nan_is_rejected_in_predictions_and_in_final_weights(pair: tuple[Judged, Any, Any, Any]) -> None:
    world, task, first, second = pair
    job = world.input(task, second, first)
    assert job.predicted is not None
    candidate, champion = (bundle_of(world, result) for result in (second, first))

    def judged(bundle: Bundle, predictions: Predictions | None) -> tuple[str, str, tuple[str, ...]]:
        predicted = Predicted(job.predicted, predictions) if predictions and job.predicted else None
        schema = task.data.event_schema
        verdict = evaluate(world.log, job.holdout, schema, job.gate, bundle, champion, None, predicted).verdict
        return str(verdict.outcome), verdict.reason, verdict.failed

    good = stored(world, second)
    bad = Predictions(good.known)
    logits = good.logits.copy()
    logits[7] = np.nan
    bad.add(torch.from_numpy(good.events), torch.from_numpy(logits))
    assert judged(candidate, bad) == ("Reject", "HygieneFailed", ("finite-predictions",))
    for predictions in (good, None):  # with and without the slice: both splits agree
        assert judged(Damaged(**vars(candidate)), predictions) == ("Reject", "HygieneFailed", ("finite-weights",))


def bundle_of(world: Judged, result: Any) -> Bundle:
    return read_bundle(world.folder / "r/ctr" / result["version"] / "bundle", result["digest"])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["better", "flipped labels"])
def test_both_splits_agree_on_clear_cases(tmp_path: Path, kind: str, seed: int) -> None:
    poisoned = {"flip_labels": 1.0} if kind == "flipped labels" else {}
    first = 1500 if kind == "better" else 4000
    outcomes = {}
    for split in ("Holdout", "Prequential"):
        world = Judged(tmp_path / split, split)  # type: ignore[arg-type]
        world.append(rows(0, first, seed=seed))
        task = world.task()
        champion, _ = world.train(task)
        world.append(rows(first, 5000, seed=seed, **poisoned) + rows(first + 5000, 1600, seed=seed))
        following = world.next(task, champion)
        candidate, _ = world.train(following)
        outcomes[split] = world.judge(following, candidate, champion)
    wanted = "Pass" if kind == "better" else "Reject"
    assert {split: found["verdict"] for split, found in outcomes.items()} == dict.fromkeys(outcomes, wanted), outcomes


def test_a_first_model_is_held_against_a_baseline_that_knew_no_more(world: Judged) -> None:
    world.append(rows(0, 5000))
    task = world.task()
    result, bundle = world.train(task)
    verdict = world.judge(task, result, None, floors={"auroc": 0.55})
    assert (verdict["verdict"], verdict["reason"]) == ("Pass", "FirstModel"), verdict
    strict = world.judge(task, result, None, floors={"auroc": 0.99})
    assert (strict["verdict"], strict["reason"]) == ("Reject", "FloorMissed")
    # counting what is judged beforehand would make the baseline better than it is
    table = pq.read_table(world.folder / "r/runs" / verdict["runID"] / "gate/predictions.parquet")
    main = ~table["tail"].to_numpy()
    items, labels = (table[name].to_numpy()[main] for name in ("item", "label"))
    peeking = ItemCounts.load(bundle.optimizer()).predict(items)
    honest = 1 / (1 + np.exp(-table["logit_baseline"].to_numpy()[main]))

    def loss(rates: Any) -> float:
        return float(-np.log(np.where(labels == 1, rates, 1 - rates)).mean())

    assert loss(peeking) < loss(honest)
    first = ItemCounts.load(bundle.optimizer())
    first.remove(items, labels)
    assert honest[:128].tolist() == pytest.approx(first.predict(items[:128]).tolist())
