"""``verdict``: the decision of the gate once more, from its stored evidence."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from viridian_trainer.cli.console import explained, show
from viridian_trainer.errors import BadData
from viridian_trainer.gate.recompute import recompute
from viridian_trainer.gate.report import message


@explained
def verdict(
    evidence: Annotated[str, typer.Argument(help="folder with evidence.json, or the run of an evaluation in MLflow")],
    registry: Annotated[str | None, typer.Option(help="address of MLflow, where the evidence is a run")] = None,
) -> None:
    """Compute a verdict again from predictions and gate; ends with 65 if another one was recorded."""
    with tempfile.TemporaryDirectory(prefix="viridian-") as folder:
        found = recompute(_download(evidence, registry, Path(folder)) if registry else Path(evidence))
    judged = found.judged
    title = f"{judged.verdict.outcome} ({judged.verdict.reason})"
    show(title, {"why": message(judged), "events": len(judged.holdout), "failed": ", ".join(judged.verdict.failed)})
    if found.differs:
        raise BadData(f"the evidence records something else in {', '.join(found.differs)}")


def _download(run: str, registry: str, folder: Path) -> Path:
    from viridian_trainer.registration import download_run  # takes seconds to import

    return download_run(registry, run, "gate", folder)
