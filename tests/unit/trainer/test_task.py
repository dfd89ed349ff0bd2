"""The contract of Jobs, with a real Redis and a real MLflow: environment in, registered version and result out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import redis
from jobs import GATE, Job, reference
from mlflow import MlflowClient
from typer.testing import CliRunner
from worlds import rows

from viridian_model.bundle import read_bundle
from viridian_model.canonical import sha256_of_file
from viridian_trainer.cli.app import app
from viridian_trainer.environment import Update, VersionRef
from viridian_trainer.registration import MlflowRegistry

SLICES = [{"name": "new", "kind": "NewUsers"}, {"name": "night", "field": "hour", "values": ["0", "1", "2", "3"]}]


@pytest.fixture
def job(tmp_path: Path, client: redis.Redis, redis_url: str, mlflow_url: str, request: pytest.FixtureRequest) -> Job:
    return Job(tmp_path, redis_url, mlflow_url, request.node.name.replace("_", "-")[:60])


def test_a_loop_of_train_and_evaluate(job: Job) -> None:
    job.append(rows(0, 6000))
    first = job.train(1)
    verdict = job.evaluate(first, None)
    assert (verdict["verdict"], verdict["reason"]) == ("Pass", "FirstModel")
    assert verdict["metrics"]["candidate"]["auroc"] >= 0.65
    assert verdict["metrics"]["candidate"]["logloss"] < verdict["metrics"]["baseline"]["logloss"]

    job.append(rows(6000, 6000))
    second = job.train(2, first["trainedTo"], VIRIDIAN_PARENT=reference(first))
    gate = {**GATE, "slices": SLICES}
    verdict = job.evaluate(second, first, VIRIDIAN_GATE=gate, VIRIDIAN_REFERENCE=reference(first))
    assert (verdict["verdict"], verdict["reason"]) == ("Pass", "NonInferior"), verdict
    assert verdict["events"] == second["events"]["holdout"]
    assert set(verdict["difference"]) == {"mean", "low", "high", "margin", "minimumDetectable"}

    client = MlflowClient(job.mlflow_url)
    gate_files = {item.path for item in client.list_artifacts(verdict["runID"], "gate")}
    assert gate_files == {"gate/evidence.json", "gate/predictions.parquet", "gate/report.html"}
    experiment = client.get_run(verdict["runID"]).info.experiment_id
    assert verdict["report"] == {"experimentID": experiment, "path": "gate/report.html"}
    path = client.download_artifacts(verdict["runID"], "gate", str(job.folder))
    page = Path(path, "report.html").read_text()
    assert "<svg" in page
    assert "slice night" in page
    assert all(f"<th>{model} {version}</th>" in page for model, version in (("candidate", "2"), ("champion", "1")))
    assert pq.read_metadata(Path(path, "predictions.parquet")).num_rows == verdict["events"]
    again = CliRunner().invoke(app, ["verdict", verdict["runID"], "--registry", job.mlflow_url])
    assert (again.exit_code, again.output.count("Pass (NonInferior)")) == (0, 1), again.output
    check_provenance(job, second)


def check_provenance(job: Job, result: dict[str, Any]) -> None:
    """What a Job trained from streams is reproduced from MLflow and the streams alone."""
    source = {"redisStream": {"url": job.redis_url, "stream": "clicks", "partitions": 2}}
    where = ["--registry", job.mlflow_url, "--model", job.model, "--source", json.dumps(source)]
    shown = CliRunner().invoke(app, ["inspect", result["version"], *where])
    assert (shown.exit_code, shown.output.count("exactly once")) == (0, 1), shown.output
    again = CliRunner().invoke(app, ["replay", result["version"], *where])
    assert (again.exit_code, again.output.count("bit for bit")) == (0, 1), again.output


def test_a_full_update_holds_out_only_what_the_champion_has_not_trained_on(job: Job) -> None:
    job.append(rows(0, 3000))
    first = job.train(1)
    job.append(rows(3000, 1000))
    full = job.train(2, VIRIDIAN_FRESH=first["trainedTo"])
    held_out = full["holdout"]["from"]
    assert all(int(held_out[p].split("@")[0]) > int(first["trainedTo"][p].split("@")[0]) for p in held_out)
    # a tenth of the 300 events held out before and the 1000 new ones, not of all 4000
    assert abs(full["events"]["holdout"] - 130) <= 2
    assert full["events"]["trained"] == 4000 - full["events"]["holdout"]


def test_the_registered_version_keeps_the_contract(job: Job) -> None:
    job.append(rows(0, 3000))
    result = job.train(1)
    client = MlflowClient(job.mlflow_url)
    version = client.get_model_version(job.model, result["version"])
    assert set(version.tags) == {
        *("viridian.update", "viridian.digest", "viridian.window", "viridian.trained-to", "viridian.parent"),
        *("viridian.event-time", "viridian.kind", "viridian.golden", "viridian.graph"),
    }
    assert version.tags["viridian.update"] == f"uid-{job.model}/1"
    assert json.loads(version.tags["viridian.trained-to"]) == result["trainedTo"]
    assert float(version.tags["viridian.event-time"]) == result["eventTime"]
    assert len(version.tags["viridian.golden"]) <= 4500
    assert len(json.loads(version.tags["viridian.golden"])["requests"]) == 4
    assert version.run_id == result["runID"]
    fetched = MlflowRegistry(job.mlflow_url).fetch(
        job.model, VersionRef(result["version"], result["digest"]), job.folder
    )
    bundle = read_bundle(fetched, result["digest"])
    assert bundle.golden.to_json() == json.loads(version.tags["viridian.golden"])
    assert version.tags["viridian.graph"] == f"sha256:{sha256_of_file(fetched / 'model.json')}"
    bundle.load_model()
    run_data = client.get_run(result["runID"])
    assert run_data.info.status == "FINISHED"
    assert {"window", "seed", "kind"} <= set(run_data.data.params)
    assert "logloss" in run_data.data.metrics


def test_a_retried_job_finds_its_version_and_adopts_no_other(job: Job) -> None:
    job.append(rows(0, 2000))
    start = {"0": "0@0-0", "1": "0@0-0"}
    window = {"from": start, "to": job.heads()}
    first = job.train(1)
    again = job.train(1)
    assert {k: v for k, v in again.items() if k != "seconds"} == {k: v for k, v in first.items() if k != "seconds"}
    assert len(MlflowClient(job.mlflow_url).search_model_versions(f"name='{job.model}'")) == 1
    job.append(rows(2000, 100))
    code, result = job.run(job.environment("Train", 1, "Full", VIRIDIAN_WINDOW={**window, "to": job.heads()}))
    assert (code, result["error"]["reason"]) == (65, "BadData")
    assert "viridian.window" in result["error"]["message"]


def test_of_two_attempts_that_register_at_once_the_first_stands(job: Job) -> None:
    registry = MlflowRegistry(job.mlflow_url)
    (job.folder / "bundle").mkdir()
    (job.folder / "bundle/manifest.json").write_text("{}")
    update = Update("uid", "recsys", job.model, 1, 1, "Full")
    tags = {"viridian.update": f"{update.tag}-{job.model}"}
    runs = [registry.start(replace(update, attempt=attempt), "Train", {}) for attempt in (1, 2)]
    found = [registry.register(run, job.model, job.folder / "bundle", tags, {"n": 1}) for run in runs]
    assert [registered.version for registered in found] == ["1", "1"]
    assert [registered.run_id for registered in found] == [runs[0].run_id] * 2


@pytest.mark.parametrize("poison", ["flipped labels", "damaged registry"])
def test_poison_is_rejected(job: Job, poison: str) -> None:
    job.append(rows(0, 5000))
    first = job.train(1)
    if poison == "flipped labels":
        job.append(rows(5000, 3000, flip_labels=1.0)[:2600] + rows(7600, 400))
        second = job.train(2, first["trainedTo"], VIRIDIAN_PARENT=reference(first))
        verdict = job.evaluate(second, first)
        assert verdict["verdict"] == "Reject", verdict
        assert verdict["reason"] in {"Worse", "FloorMissed", "HygieneFailed"}
        return
    wrong = {**first, "digest": "sha256:" + "0" * 64}
    env = job.environment("Evaluate", 1, "Full", VIRIDIAN_CANDIDATE=reference(wrong), VIRIDIAN_HOLDOUT=first["holdout"])
    code, result = job.run(env)
    assert (code, result["error"]["reason"]) == (3, "GateInputMissing")


def test_holdouts_that_are_too_small_are_inconclusive(job: Job) -> None:
    job.append(rows(0, 2000))
    first = job.train(1)
    verdict = job.evaluate(first, None, VIRIDIAN_GATE={"minEvents": 2000})
    assert (verdict["verdict"], verdict["reason"]) == ("Inconclusive", "TooFewEvents")


@pytest.mark.parametrize(
    ("change", "code", "reason"),
    [
        ({"VIRIDIAN_TASK": "Other"}, 64, "BadUsage"),
        ({"VIRIDIAN_TASK": ""}, 64, "BadUsage"),
        ({"VIRIDIAN_WINDOW": "{"}, 64, "BadUsage"),
        ({"VIRIDIAN_WINDOW": ""}, 64, "BadUsage"),
        ({"VIRIDIAN_UPDATE": "{}"}, 64, "BadUsage"),
        ({"VIRIDIAN_PARENT": '{"version": "1", "digest": "x"}'}, 64, "BadUsage"),
        ({"VIRIDIAN_DATA": '{"source": {}}'}, 78, "BadConfig"),
        ({"VIRIDIAN_TRAINING": '{"config": {"dimm": 8}, "seed": 1}'}, 78, "BadConfig"),
        ({"VIRIDIAN_TRAINING": '{"config": {"batchSize": "x"}, "seed": 1}'}, 78, "BadConfig"),
        ({"PET_NNODES": "2"}, 64, "BadUsage"),
        ({"PET_NNODES": "2:4"}, 64, "BadUsage"),
        ({"MLFLOW_TRACKING_URI": "http://127.0.0.1:1"}, 75, "RegistryUnreachable"),
        ({"VIRIDIAN_WINDOW": '{"from": {"0": "0@0-0"}, "to": {"0": "9000@9-0"}}'}, 65, "DataTrimmed"),
    ],
)
def test_failures_have_the_exit_codes_of_the_contract(
    job: Job, monkeypatch: pytest.MonkeyPatch, change: dict[str, str], code: int, reason: str
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    job.append(rows(0, 300))
    window = {"from": {"0": "0@0-0", "1": "0@0-0"}, "to": job.heads()}
    found, result = job.run(job.environment("Train", 1, "Full", VIRIDIAN_WINDOW=window) | change)
    assert (found, result["error"]["reason"]) == (code, reason), result


PREQUENTIAL = {**GATE, "split": "Prequential"}


def test_a_prequential_loop_from_the_environment(job: Job) -> None:
    job.append(rows(0, 6000, duplicates=0.02))
    first = job.train(1, VIRIDIAN_GATE=PREQUENTIAL)
    assert job.evaluate(first, None, **predicted(first))["reason"] == "FirstModel"
    job.append(rows(6000, 6000, duplicates=0.02))
    second = job.train(
        2,
        first["trainedTo"],
        VIRIDIAN_PARENT=reference(first),
        VIRIDIAN_FRESH=first["trainedTo"],
        VIRIDIAN_GATE=PREQUENTIAL,
    )
    verdict = job.evaluate(second, first, VIRIDIAN_REFERENCE=reference(first), **predicted(second))
    assert (verdict["verdict"], verdict["reason"]) == ("Pass", "NonInferior"), verdict
    assert verdict["events"] == second["events"]["predicted"] + verdict["tail"]["events"]
    again = CliRunner().invoke(app, ["verdict", verdict["runID"], "--registry", job.mlflow_url])
    assert again.exit_code == 0, again.output
    tags = MlflowClient(job.mlflow_url).get_model_version(job.model, second["version"]).tags
    assert json.loads(tags["viridian.predicted-from"]) == second["predictedFrom"]
    full = job.train(3, VIRIDIAN_FRESH=second["trainedTo"], VIRIDIAN_GATE=PREQUENTIAL)
    begins, champion_ended = (
        {p: int(offset.split("@")[0]) for p, offset in offsets.items()}
        for offsets in (full["predictedFrom"], second["trainedTo"])
    )
    assert all(begins[p] >= champion_ended[p] for p in begins)
    check_provenance(job, second)


def predicted(result: dict[str, Any]) -> dict[str, Any]:
    """What the operator tells an evaluation of a prequential candidate."""
    window = {"from": result["predictedFrom"], "to": result["trainedTo"]}
    return {"VIRIDIAN_PREDICTED": window, "VIRIDIAN_GATE": PREQUENTIAL}


@pytest.mark.parametrize(
    ("change", "code", "reason"),
    [
        ({"VIRIDIAN_PREDICTED": None}, 64, "BadUsage"),
        (
            {"VIRIDIAN_PREDICTED": {"from": {"0": "0@0-0", "1": "0@0-0"}, "to": {"0": "1@1-0", "1": "1@1-0"}}},
            64,
            "BadUsage",
        ),
        ({}, 3, "GateInputMissing"),  # it was trained with the other split
    ],
)
def test_an_evaluation_without_predictions_says_so(job: Job, change: dict[str, Any], code: int, reason: str) -> None:
    job.append(rows(0, 600))
    first = job.train(1)
    start = {"0": "0@0-0", "1": "0@0-0"}
    settings = {**predicted({**first, "predictedFrom": start}), **change}
    settings |= {"VIRIDIAN_CANDIDATE": reference(first), "VIRIDIAN_HOLDOUT": first["holdout"]}
    found, result = job.run(job.environment("Evaluate", 1, "Full", **settings))
    assert (found, result["error"]["reason"]) == (code, reason), result


def test_a_crash_leaves_its_class_and_message_without_credentials(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Any) -> None:
        raise KeyError("redis://me:hidden@host/0")

    monkeypatch.setattr("viridian_trainer.task.read_train", broken)
    code, result = job.run(job.environment("Train", 1, "Full"))
    assert code == 1
    assert result["error"] == {"reason": "Crashed", "message": "KeyError: 'redis://host/0'"}


def test_the_container_entry_runs_with_a_read_only_home(job: Job) -> None:
    job.append(rows(0, 1500))
    window = {"from": {"0": "0@0-0", "1": "0@0-0"}, "to": job.heads()}
    log = job.folder / "log"
    env = job.environment("Train", 1, "Full", VIRIDIAN_WINDOW=window)
    env |= {"VIRIDIAN_TERMINATION_LOG": str(log), "HOME": "/nonexistent", "PATH": os.environ["PATH"]}
    done = subprocess.run(
        [sys.executable, "-m", "viridian_trainer"], env=env, cwd="/", capture_output=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(log.read_text())["version"] == "1"
    lines = [json.loads(line) for line in done.stderr.decode().splitlines()]
    assert lines[-1]["message"] == "done"
    assert any("events_per_second" in line for line in lines)
