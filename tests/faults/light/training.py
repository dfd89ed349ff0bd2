"""The trainer's side of the contract: a tiny bundle, one version, one verdict."""

from __future__ import annotations

import json
import os
import time
from typing import Any

from contract import Failure, Mlflow, canonical, golden, sha256


def variable(name: str) -> Any:
    """A variable of the contract, which holds JSON."""
    try:
        return json.loads(os.environ[name])
    except (KeyError, ValueError):
        raise Failure(64, "BadUsage", f"{name} is missing or no JSON") from None


def train() -> dict[str, Any]:
    """Register one version, or find the one that an earlier attempt registered."""
    update, window, parent = variable("VIRIDIAN_UPDATE"), variable("VIRIDIAN_WINDOW"), variable("VIRIDIAN_PARENT")
    registry, model, tag = Mlflow(), os.environ["VIRIDIAN_MODEL_NAME"], f"{update['uid']}/{update['number']}"
    time.sleep(float(_config().get("seconds", 0)))
    query = f"name='{model}' and tags.`viridian.update`='{tag}'"
    found = (registry.get("model-versions/search", filter=query) or {}).get("model_versions")
    if not found:
        found = [_register(registry, model, tag, update, window, parent)]
    tags = {each["key"]: each["value"] for each in found[0]["tags"]}
    return {
        "task": "Train",
        "runID": found[0]["run_id"],
        "version": str(found[0]["version"]),
        "digest": tags["viridian.digest"],
        "trainedTo": window["to"],
        "eventTime": float(tags["viridian.event-time"]),
        "events": {"trained": 1, "holdout": 0, "duplicates": 0, "late": 0, "rejected": 0},
        "metrics": {},
    }


def evaluate() -> dict[str, Any]:
    """The verdict that the configuration asks for."""
    if variable("VIRIDIAN_CANDIDATE") is None:
        raise Failure(3, "GateInputMissing", "there is no candidate")
    time.sleep(float(_config().get("secondsToJudge", 0)))
    verdict = _config().get("verdict", "Pass")
    reason = {"Pass": "NonInferior", "Reject": "Worse"}.get(verdict, "NotProven")
    return {"task": "Evaluate", "runID": "none", "verdict": verdict, "reason": reason, "message": "as configured"}


def _config() -> dict[str, Any]:
    return variable("VIRIDIAN_TRAINING").get("config") or {}


def _register(registry: Mlflow, model: str, tag: str, update: Any, window: Any, parent: Any) -> Any:
    weights = sha256(tag)
    manifest = {
        "schema": "viridian.bundle/v1",
        "model": model,
        "kind": update["kind"],
        "lineage": tag,
        "parent": parent,
        "window": window,
        "files": {"weights": {"sha256": sha256(weights), "size": len(weights)}},
    }
    digest = f"sha256:{sha256(canonical(manifest))}"
    run = registry.post("runs/create", {"experiment_id": "0", "run_name": tag})["run"]["info"]
    folder = f"{run['artifact_uri']}/bundle"
    registry.upload(folder, "weights", weights)
    registry.upload(folder, "golden.json", json.dumps(golden(digest)))
    registry.upload(folder, "manifest.json", canonical(manifest))
    tags = {
        "viridian.update": tag,
        "viridian.digest": digest,
        "viridian.window": canonical(window),
        "viridian.trained-to": canonical(window["to"]),
        "viridian.parent": parent["digest"] if parent else "",
        "viridian.event-time": repr(round(time.time(), 1)),
        "viridian.kind": update["kind"],
        "viridian.golden": json.dumps(golden(digest)),
    }
    if graph := _config().get("graph"):
        tags["viridian.graph"] = graph
    pairs = [{"key": key, "value": value} for key, value in tags.items()]
    registry.post("registered-models/create", {"name": model})
    body = {"name": model, "source": folder, "run_id": run["run_id"], "tags": pairs}
    return registry.post("model-versions/create", body)["model_version"]
