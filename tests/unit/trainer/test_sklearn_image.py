"""The program of the scikit-learn image keeps the contract of Jobs, as a process of its own without our packages."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import redis
from jobs import Job, reference
from mlflow import MlflowClient
from worlds import rows

from viridian_model.canonical import digest_of
from viridian_trainer.environment import VersionRef
from viridian_trainer.registration import MlflowRegistry

PROGRAM = Path(__file__).parents[3] / "examples" / "sklearn" / "main.py"
START = {"0": "0@0-0", "1": "0@0-0"}


class Image(Job):
    """Tasks that another image runs."""

    def execute(self, env: dict[str, str]) -> int:
        passed = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "VIRIDIAN_FRESH": "null", **env}
        passed |= {name: os.environ[name] for name in ("VIRIDIAN_TERMINATION_LOG", "MLFLOW_DISABLE_TELEMETRY")}
        passed["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "1"
        done = subprocess.run([sys.executable, str(PROGRAM)], env=passed, cwd="/", capture_output=True, timeout=240)
        return done.returncode


@pytest.fixture
def image(
    tmp_path: Path, client: redis.Redis, redis_url: str, mlflow_url: str, request: pytest.FixtureRequest
) -> Image:
    return Image(tmp_path, redis_url, mlflow_url, request.node.name.replace("_", "-")[:60])


def test_it_trains_warm_registers_once_and_judges(image: Image) -> None:
    image.append(rows(0, 4000))
    first = image.train(1)
    again = image.train(1)
    assert again == first
    image.append(rows(4000, 4000))
    second = image.train(2, first["trainedTo"], VIRIDIAN_PARENT=reference(first))
    assert second["holdout"] == {"from": second["trainedTo"], "to": image.heads()}
    counted = sum(result["events"]["trained"] for result in (first, second)) + second["events"]["holdout"]
    assert counted == 8000
    verdict = image.evaluate(second, first)
    assert (verdict["verdict"], verdict["reason"]) == ("Pass", "NonInferior"), verdict
    assert verdict["metrics"]["candidate"]["logloss"] < 0.69
    check_version(image, second, first)


def check_version(image: Image, result: dict[str, Any], parent: dict[str, Any]) -> None:
    """Tags and bundle are what the operator checks."""
    version = MlflowClient(image.mlflow_url).get_model_version(image.model, result["version"])
    window = {"from": parent["trainedTo"], "to": image.heads()}
    assert json.loads(version.tags["viridian.window"]) == window
    assert version.tags["viridian.parent"] == parent["digest"]
    assert version.tags["viridian.update"] == f"uid-{image.model}/2"
    assert json.loads(version.tags["viridian.golden"])["requests"]
    wanted = VersionRef(result["version"], result["digest"])
    bundle = MlflowRegistry(image.mlflow_url).fetch(image.model, wanted, image.folder / "fetched")
    assert digest_of(json.loads((bundle / "manifest.json").read_bytes())) == result["digest"]


@pytest.mark.parametrize(
    ("change", "code", "reason"),
    [
        ({"VIRIDIAN_TASK": "Other"}, 64, "BadUsage"),
        (
            {"VIRIDIAN_DATA": '{"source": {"parquet": {"path": "/x"}}, "schema": {"categorical": ["user"]}}'},
            78,
            "BadConfig",
        ),
        ({"VIRIDIAN_GATE": '{"split": "Prequential"}'}, 78, "BadConfig"),
        ({"MLFLOW_TRACKING_URI": "http://127.0.0.1:1"}, 75, "RegistryUnreachable"),
        ({"VIRIDIAN_WINDOW": '{"from": {"0": "0@0-0"}, "to": {"0": "9000@9-0"}}'}, 65, "DataTrimmed"),
    ],
)
def test_its_failures_have_the_exit_codes_of_the_contract(
    image: Image, change: dict[str, str], code: int, reason: str
) -> None:
    image.append(rows(0, 100))
    window = {"from": START, "to": image.heads()}
    found, result = image.run(image.environment("Train", 1, "Full", VIRIDIAN_WINDOW=window) | change)
    assert (found, result["error"]["reason"]) == (code, reason), result
