"""The task of judging: a candidate against what serves, the evidence recorded, and the result of the contract."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from viridian_model.bundle import Bundle
from viridian_trainer.download import fetch_bundle
from viridian_trainer.environment import EvaluateInput, VersionRef
from viridian_trainer.errors import GateInputMissing
from viridian_trainer.eventlog import EventLog
from viridian_trainer.gate.evaluate import evaluate
from viridian_trainer.gate.evidence import fetch_predictions
from viridian_trainer.gate.report import FOLDER, PAGE, Summary, artifacts, summary
from viridian_trainer.registry import Registry, Run, VersionMissing


def evaluate_task(task: EvaluateInput, log: EventLog, registry: Registry, *, evidence: bool = True) -> dict[str, Any]:
    """Judge a candidate and record the evidence, unless it is not wanted; gives the result of the contract.

    Raises
    ------
    TaskError
        With the exit code of the contract.
    """
    run = registry.start(task.update, "Evaluate", _judged_by(task))
    try:
        with tempfile.TemporaryDirectory(prefix="viridian-") as folder:
            found = _evaluate_in(Path(folder), task, log, registry, run, evidence)
    except BaseException:
        run.end("FAILED")
        raise
    run.end("FINISHED")
    told = {"report": _report_of(run)} if evidence else {}
    return {"task": "Evaluate", "runID": run.run_id, **found, **told}


def _report_of(run: Run) -> dict[str, str]:
    """Where in the run the page for people is, and in which experiment pages of the registry show the run."""
    shown_in = {"experimentID": run.experiment} if run.experiment else {}
    return {"path": f"{FOLDER}/{PAGE}", **shown_in}


def _judged_by(task: EvaluateInput) -> dict[str, Any]:
    predicted = {"predicted": task.predicted.wire()} if task.predicted else {}
    return {"gate": task.gate.model_dump(), "holdout": task.holdout.wire(), **predicted}


def _evaluate_in(
    folder: Path, task: EvaluateInput, log: EventLog, registry: Registry, run: Run, evidence: bool
) -> Summary:
    def bundle(version: VersionRef | None) -> Bundle | None:
        try:
            return fetch_bundle(registry, task.model_name, version, folder) if version else None
        except VersionMissing as error:
            raise GateInputMissing(str(error)) from error

    candidate, champion, reference = (bundle(version) for version in (task.candidate, task.parent, task.reference))
    if candidate is None:
        raise GateInputMissing("there is no candidate")
    schema, predicted = task.data.event_schema, None
    if task.predicted is not None:
        predicted = fetch_predictions(registry, task.model_name, task.candidate, candidate, task.predicted, folder)
    judged = evaluate(log, task.holdout, schema, task.gate, candidate, champion, reference, predicted)
    for path in artifacts(judged, task, folder / FOLDER) if evidence else ():
        run.file(path, FOLDER)
    found = summary(judged)
    run.metrics({f"candidate_{k}": v for k, v in found["metrics"].get("candidate", {}).items()}, len(judged.holdout))
    return found
