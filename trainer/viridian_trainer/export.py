"""From a finished training to a bundle with its manifest, golden requests and version tags."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from viridian_model.bundle import Bundle, finish, write_bundle
from viridian_model.canonical import canonical_json, digest_of
from viridian_model.contract import RankingModel
from viridian_model.errors import BundleError
from viridian_model.inference import Golden, golden_answers
from viridian_model.manifest import Code, Parent, Provenance
from viridian_model.manifest import Window as ManifestWindow
from viridian_model.requests import inputs_of_rows
from viridian_trainer import __version__, registry
from viridian_trainer.environment import TrainInput
from viridian_trainer.errors import BadData
from viridian_trainer.training import Trained, predictions
from viridian_trainer.training.train import identity

GOLDEN_REQUESTS = 4
GOLDEN_LIMIT = 4500


@dataclass(frozen=True)
class Exported:
    """A written bundle, and beside it the evidence that its manifest names by its SHA-256, if there is any."""

    folder: Path
    digest: str
    tags: Mapping[str, str]
    predictions: Path | None = None


def export(
    task: TrainInput, trained: Trained, parent: Bundle | None, folder: Path, code: Code | None = None
) -> Exported:
    """Write the bundle into ``folder``; equal trainings by the same ``code`` (else: this one) give equal digests.

    What was predicted before it was trained on is written beside ``folder``: servers have no use for it.

    Raises
    ------
    BadData
        If no golden request fits into a version tag, or the finished weights cannot answer (NaN or infinity).
    """
    model = finish(trained.learner.model)
    golden = golden_of(model, list(trained.learner.golden))
    code = code or Code(version=__version__, image=os.environ.get("VIRIDIAN_IMAGE", ""))
    provenance = _provenance(task, trained, parent, code)
    evidence = _write_predictions(trained, folder)
    try:
        digest = write_bundle(
            folder,
            provenance=provenance,
            spec=trained.spec,
            model=model,
            optimizer=trained.learner.kept(),
            golden=golden,
        )
    except BundleError as error:
        raise BadData(f"the trained weights cannot be exported: {error.message}; lower the learning rate") from error
    tags = version_tags(task, provenance, digest, golden)
    tags[registry.GRAPH] = digest_of(trained.spec.to_json())
    if trained.split.predicted is not None:
        tags[registry.PREDICTED_FROM] = canonical_json(trained.split.predicted.start).decode()
    return Exported(folder, digest, tags, evidence)


def _write_predictions(trained: Trained, bundle: Path) -> Path | None:
    if trained.learner.predictions is None:
        return None
    path = bundle.with_name(predictions.FILE)
    path.write_bytes(trained.learner.predictions.encode())
    return path


def version_tags(task: TrainInput, provenance: Provenance, digest: str, golden: Golden) -> dict[str, str]:
    """The tags of the contract."""
    return {
        registry.UPDATE: task.update.tag,
        registry.DIGEST: digest,
        registry.WINDOW: task.window.canonical(),
        registry.PARENT: parent_tag(task),
        registry.TRAINED_TO: canonical_json(provenance.trained_to).decode(),
        registry.EVENT_TIME: repr(provenance.event_time),
        registry.KIND: task.update.kind,
        registry.GOLDEN: canonical_json(golden.to_json()).decode(),
    }


def parent_tag(task: TrainInput) -> str:
    """Digest of the parent, or nothing for a Full update."""
    return task.parent.digest if task.parent and task.update.kind == "Incremental" else ""


def _provenance(task: TrainInput, trained: Trained, parent: Bundle | None, code: Code) -> Provenance:
    counts = trained.learner.counts
    incremental = task.update.kind == "Incremental" and parent is not None
    extra: dict[str, Any] = {
        "origin": dict(trained.origin),
        "replay": dict(trained.replay),
        "ledger": trained.learner.ledger.hexdigest,
        "inputs": {**identity(task), "update": task.update.tag},
        **_prequential(trained),
    }
    return Provenance(
        model=task.model_name,
        kind=task.update.kind,
        lineage=parent.manifest.lineage if incremental and parent else task.update.tag,
        parent=Parent(version=task.parent.version, digest=task.parent.digest) if incremental and task.parent else None,
        window=ManifestWindow(start=dict(task.window.start), to=dict(task.window.end)),
        trained_to=dict(trained.learner.offsets),
        event_time=trained.learner.watermark.newest,
        seed=task.seed,
        events={
            "trained": counts.trained,
            "duplicates": counts.duplicates,
            "late": counts.late,
            "rejected": counts.rejected,
            "replayed": counts.replayed,
        },
        code=code,
        **extra,
    )


def _prequential(trained: Trained) -> dict[str, Any]:
    """What was predicted before it was trained on, and the digest of the predictions."""
    found, window = trained.learner.predictions, trained.split.predicted
    if found is None or window is None:
        return {}
    sha256 = hashlib.sha256(found.encode()).hexdigest()
    return {"prequential": {**window.wire(), "events": len(found), "sha256": sha256}}


def golden_of(model: RankingModel, rows: list[dict[str, Any]]) -> Golden:
    """As many requests of two rows each as fit into a version tag, at least one of one row."""
    for requests, size in ((GOLDEN_REQUESTS, 2), (2, 2), (2, 1), (1, 1)):
        chosen = [rows[start : start + size] for start in range(0, min(len(rows), requests * size), size)]
        golden = golden_answers(model, [inputs_of_rows(part, model.schema) for part in chosen])
        if len(canonical_json(golden.to_json())) <= GOLDEN_LIMIT:
            return golden
    raise BadData(f"one golden request takes more than {GOLDEN_LIMIT} characters; shorten the values of features")
