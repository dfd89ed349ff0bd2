"""Trains or judges as the environment says; the last words are JSON in the termination log."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import traceback
from pathlib import Path

import numpy as np
from contract import Failure, Json, report, text, update_tag, variable
from events import number, read, split
from model import Clicks, labels_of, losses
from registry import Registry
from scipy import stats


def main() -> int:
    """Exit codes of the contract."""
    task = os.environ.get("VIRIDIAN_TASK", "")
    signal.signal(signal.SIGTERM, _stopped)
    try:
        if task not in ("Train", "Evaluate"):
            raise Failure(64, "BadUsage", "set VIRIDIAN_TASK to Train or Evaluate")
        with tempfile.TemporaryDirectory() as folder:
            report(train(Path(folder)) if task == "Train" else evaluate(Path(folder)))
    except Failure as failure:
        report({"task": task, "error": {"reason": failure.reason, "message": str(failure)}})
        return failure.code
    except Exception as error:
        traceback.print_exc()
        report({"task": task, "error": {"reason": "Crashed", "message": type(error).__name__}})
        return 1
    return 0


def _stopped(*_: object) -> None:
    # One pass takes seconds and gives the same weights every time: there is nothing worth a checkpoint.
    raise Failure(143, "Stopped", "stopped on request; the next attempt begins again")


def train(folder: Path) -> Json:
    """Train from the parent on the window, register, and say what was done."""
    registry, data, window = Registry(), variable("VIRIDIAN_DATA"), variable("VIRIDIAN_WINDOW")
    if found := registry.find(update_tag()):
        return found
    if variable("VIRIDIAN_GATE").get("split", "Holdout") != "Holdout":
        raise Failure(78, "BadConfig", "spec.gate.split: this image keeps no predictions; set it to Holdout")
    fraction = data.get("holdout", {}).get("fraction", 0.1)
    events, trained_to = split(read(data, window), window, variable("VIRIDIAN_FRESH"), fraction)
    if not events:
        raise Failure(65, "BadData", "the window holds nothing to train on")
    parent = variable("VIRIDIAN_PARENT") if variable("VIRIDIAN_UPDATE")["kind"] == "Incremental" else None
    model = Clicks(data["schema"]["categorical"], variable("VIRIDIAN_TRAINING")["seed"])
    if parent:
        model.load(registry.fetch(parent, folder / "parent"), parent["digest"])
    loss = model.train(events)
    done: Json = {"window": window, "trainedTo": trained_to, "eventTime": events[-1]["ts"], "parent": parent}
    digest = model.save(folder / "bundle", {**done, **_provenance(registry.model)}, events[-2:])
    held = sum(number(window["to"][p]) - number(trained_to[p]) for p in trained_to)
    counts = {"trained": len(events), "holdout": held, "duplicates": 0, "late": 0, "rejected": 0}
    result = {
        "task": "Train",
        "digest": digest,
        "trainedTo": trained_to,
        "eventTime": events[-1]["ts"],
        "holdout": {"from": trained_to, "to": window["to"]},
        "metrics": {"logloss": round(loss, 6)},
    }
    tags = {**_tags(done), "digest": digest, "golden": text(model.golden(events[-2:]))}
    return registry.register(folder / "bundle", tags, {**result, "events": counts})


def _provenance(model: str) -> Json:
    """What else the manifest says."""
    update, seed = variable("VIRIDIAN_UPDATE"), variable("VIRIDIAN_TRAINING")["seed"]
    return {"model": model, "kind": update["kind"], "lineage": update_tag(), "seed": seed, "code": {"version": "1"}}


def _tags(done: Json) -> Json:
    """Version tags, all strings, by their name after ``viridian.``."""
    return {
        "update": update_tag(),
        "kind": variable("VIRIDIAN_UPDATE")["kind"],
        "window": text(done["window"]),
        "trained-to": text(done["trainedTo"]),
        "parent": done["parent"]["digest"] if done["parent"] else "",
        "event-time": repr(done["eventTime"]),
    }


def evaluate(folder: Path) -> Json:
    """Non-inferiority of the mean log loss, with an interval over users."""
    registry, data, gate = Registry(), variable("VIRIDIAN_DATA"), variable("VIRIDIAN_GATE")
    entries = read(data, variable("VIRIDIAN_HOLDOUT"))
    events = [event for found in entries.values() for _, event in found]
    versions = {"candidate": variable("VIRIDIAN_CANDIDATE"), "champion": variable("VIRIDIAN_PARENT")}
    scored = {}
    for name, version in versions.items():
        if version and events:
            bundle = registry.fetch(version, folder / name)
            model = Clicks(data["schema"]["categorical"], 0).load(bundle, version["digest"])
            scored[name] = losses(model.predict(events), labels_of(events))
    users = [event["user"] for event in events]
    verdict, reason, difference = judge(scored, users, gate, gate.get("margin", 0.002))
    return {
        "task": "Evaluate",
        "runID": registry.run("Evaluate"),
        "verdict": verdict,
        "reason": reason,
        "message": f"better by {difference['mean']} (interval {difference['low']} to {difference['high']})",
        "metrics": {name: {"logloss": round(float(values.mean()), 6)} for name, values in scored.items()},
        "difference": {**difference, "margin": gate.get("margin", 0.002)},
        "events": len(events),
        "users": len(set(users)),
        "failed": [],
    }


def judge(scored: Json, users: list[str], gate: Json, margin: float) -> tuple[str, str, Json]:
    """Verdict, reason and the difference in log loss, champion minus candidate."""
    nothing = {"mean": None, "low": None, "high": None}
    if len(users) < gate.get("minEvents", 2000):
        return "Inconclusive", "TooFewEvents", nothing
    if "champion" not in scored:
        return "Pass", "FirstModel", nothing
    difference = scored["champion"] - scored["candidate"]
    _, position = np.unique(users, return_inverse=True)
    mean = float(difference.mean())
    # Ratio estimator with users as clusters (Cochran, "Sampling Techniques", 1977, section 6.4).
    residuals = np.bincount(position, difference - mean)
    error = np.sqrt(len(residuals) / max(len(residuals) - 1, 1) * np.square(residuals).sum()) / len(users)
    reach = float(stats.t.ppf((1 + gate.get("confidence", 0.95)) / 2, max(len(residuals) - 1, 1)) * error)
    found = {"mean": round(mean, 6), "low": round(mean - reach, 6), "high": round(mean + reach, 6)}
    if mean - reach > -margin:
        return "Pass", "NonInferior", found
    return ("Reject", "Worse", found) if mean + reach < 0 else ("Inconclusive", "NotProven", found)


if __name__ == "__main__":
    sys.exit(main())
