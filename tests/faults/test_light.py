"""The light image keeps the contracts: the same mlflow_url, the same tags, the same answers as the real ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from mlflow_server import free_port
from operators import until

PROGRAM = Path(__file__).parent / "light" / "light.py"
WINDOW = {"from": {"0": "0@0-0"}, "to": {"0": "4@1-1"}}
UPDATE = {"uid": "u", "namespace": "n", "name": "ctr", "number": 1, "attempt": 1, "kind": "Full"}


def _run(folder: Path, uri: str, task: str, **more: Any) -> dict[str, Any]:
    log = folder / f"{task}.json"
    values = {"UPDATE": UPDATE, "WINDOW": WINDOW, "PARENT": None, "TRAINING": {"config": {}, "seed": 0}, **more}
    env = {f"VIRIDIAN_{name}": json.dumps(value) for name, value in values.items()}
    env |= {"VIRIDIAN_TASK": task, "VIRIDIAN_MODEL_NAME": "ctr", "MLFLOW_TRACKING_URI": uri}
    subprocess.run([sys.executable, PROGRAM], env=env | {"VIRIDIAN_TERMINATION_LOG": str(log)}, check=True, timeout=30)
    return json.loads(log.read_text())


@pytest.fixture(scope="module")
def trained(mlflow_url: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return _run(tmp_path_factory.mktemp("train"), mlflow_url, "Train")


def test_a_second_attempt_finds_the_version_of_the_first(mlflow_url: str, trained, tmp_path: Path) -> None:
    assert _run(tmp_path, mlflow_url, "Train") == trained


def test_the_verdict_is_what_was_asked_for(mlflow_url: str, trained, tmp_path: Path) -> None:
    training = {"config": {"verdict": "Reject"}, "seed": 0}
    assert _run(tmp_path, mlflow_url, "Evaluate", CANDIDATE=trained, TRAINING=training)["verdict"] == "Reject"


class Pod:
    """The server as a process, with what the operator mounts."""

    def __init__(self, folder: Path, uri: str, revision: dict[str, Any]) -> None:
        self.url, self.log = f"http://127.0.0.1:{(port := free_port())}", folder / "end"
        (folder / "revision.json").write_text(json.dumps({"model": "ctr", "eventTime": 1.5e9, **revision}))
        (folder / "token").write_text("secret\n")
        env = {"MLFLOW_TRACKING_URI": uri, "VIRIDIAN_PORT": str(port), "VIRIDIAN_BUNDLE_STORE": str(folder / "store")}
        env |= {"VIRIDIAN_REVISION_DIR": str(folder), "VIRIDIAN_ADMIN_TOKEN_FILE": str(folder / "token")}
        env |= {"VIRIDIAN_TERMINATION_LOG": str(self.log)}
        self.process = subprocess.Popen([sys.executable, PROGRAM], env=os.environ | env)

    def ask(self, path: str, body: Any = None, token: str = "") -> tuple[int, Any, Any]:
        request = urllib.request.Request(self.url + path, None if body is None else json.dumps(body).encode())
        if token:
            request.add_header("Authorization", f"Bearer {token}")
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return answer.status, json.loads(answer.read() or "null"), answer.headers
        except urllib.error.HTTPError as error:
            return error.code, None, error.headers
        except OSError:
            return 0, None, {}


@pytest.fixture
def pod(mlflow_url: str, trained: dict[str, Any], tmp_path: Path) -> Any:
    pod = Pod(tmp_path, mlflow_url, {"version": trained["version"], "digest": trained["digest"]})
    until(lambda: pod.ask("/v2/health/ready")[0] == 200, "it is ready")
    yield pod
    pod.process.kill()
    pod.process.wait()


def test_the_server_says_what_it_serves_and_may_be_retired(pod: Pod, trained: dict[str, Any]) -> None:
    body = {"id": "7", "inputs": [{"name": "user", "datatype": "BYTES", "shape": [2], "data": ["a", "b"]}]}
    status, answer, headers = pod.ask("/v2/models/ctr/infer", body)
    assert (status, answer["id"], len(answer["outputs"][0]["data"])) == (200, "7", 2)
    assert headers["x-model-digest"] == answer["parameters"]["digest"] == trained["digest"]
    assert pod.ask("/viridian/v1/admin/retire", {}, "wrong")[0] == 403
    assert pod.ask("/viridian/v1/admin/retire", {}, "secret")[1]["retired"]
    assert pod.ask("/v2/models/ctr/infer", body)[2]["Connection"] == "close"


def test_faults_come_and_go(pod: Pod) -> None:
    pod.ask("/fault", {"unready": True})
    assert pod.ask("/v2/health/ready")[0] == 503
    pod.ask("/fault", {"status": 500})
    assert (pod.ask("/v2/health/ready")[0], pod.ask("/v2/models/ctr/infer", {"inputs": []})[0]) == (200, 500)
    pod.ask("/fault", {"crash": True})
    assert pod.process.wait(5) == 1


def test_another_digest_than_the_wanted_one_ends_the_process(mlflow_url: str, trained, tmp_path: Path) -> None:
    pod = Pod(tmp_path, mlflow_url, {"version": trained["version"], "digest": "sha256:other"})
    assert pod.process.wait(20) == 65
    assert json.loads(pod.log.read_text())["error"]["reason"] == "DigestMismatch"


def test_versions_are_staged_flipped_to_and_back(pod: Pod, mlflow_url: str, trained, tmp_path: Path) -> None:
    second = _run(tmp_path, mlflow_url, "Train", UPDATE={**UPDATE, "number": 2})

    def roles() -> dict[str, tuple[str, str]]:
        residents = pod.ask("/viridian/v1/identity")[1]["residents"]
        return {each["role"]: (each["digest"], each["phase"]) for each in residents}

    def admin(verb: str, body: Any = None) -> int:
        return pod.ask(f"/viridian/v1/admin/{verb}", body or {}, token="secret")[0]

    wanted = {"version": second["version"], "digest": second["digest"], "eventTime": 1.6e9, "golden": {}}
    assert admin("flip", {"digest": second["digest"]}) == 409
    assert admin("stage", wanted) == 202
    until(lambda: roles().get("Staged") == (second["digest"], "Ready"), "it is staged")
    assert pod.ask("/viridian/v1/identity")[1]["digest"] == trained["digest"]
    assert admin("flip", {"digest": second["digest"]}) == 200
    assert roles() == {"Current": (second["digest"], "Ready"), "Previous": (trained["digest"], "Ready")}
    _, _, headers = pod.ask("/v2/models/ctr/infer", {"inputs": []})
    assert (headers["x-model-version"], headers["x-model-digest"]) == (second["version"], second["digest"])
    assert admin("flip", {"digest": trained["digest"]}) == 200
    assert admin("stage", {**wanted, "digest": "sha256:other"}) == 202
    until(lambda: roles().get("Staged") == ("sha256:other", "Failed"), "it cannot be staged")
    assert admin("unstage") == 200
    assert "Staged" not in roles()
