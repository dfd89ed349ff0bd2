"""What a training predicted before it trained on it: fetched, verified, and paired with the event log."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from viridian_model.bundle import Bundle
from viridian_model.ids import id_hash
from viridian_trainer.environment import VersionRef
from viridian_trainer.errors import GateInputMissing
from viridian_trainer.eventlog import Window
from viridian_trainer.registry import Registry, VersionMissing
from viridian_trainer.training.predictions import FILE, FOLDER, Predictions


@dataclass(frozen=True)
class Predicted:
    """The window that was predicted, and the predictions of its events in the order of training."""

    window: Window
    predictions: Predictions


def fetch_predictions(
    registry: Registry, model: str, version: VersionRef, bundle: Bundle, window: Window, folder: Path
) -> Predicted:
    """The predictions of ``version`` for ``window``, from the run that trained it.

    The chain of trust: the digest of the version, pinned by the operator, covers the manifest, which names the
    window, the number of events and the SHA-256 of the file.

    Raises
    ------
    GateInputMissing
        If the file is missing, altered, or of another window.
    RegistryUnreachable
        If the registry does not answer.
    """
    recorded = (bundle.manifest.model_extra or {}).get("prequential")
    if not isinstance(recorded, dict):
        raise GateInputMissing(
            f"version {version.version} did not predict its newest events before it trained on them; "
            "train it with spec.gate.split Prequential, or judge it with Holdout"
        )
    if {side: recorded.get(side) for side in ("from", "to")} != window.wire():
        raise GateInputMissing(f"version {version.version} predicted another window than VIRIDIAN_PREDICTED")
    try:
        path = registry.artifact(registry.version(model, version.version).run_id, f"{FOLDER}/{FILE}", folder)
        data = path.read_bytes()
    except (VersionMissing, OSError) as error:
        raise GateInputMissing(f"the predictions of version {version.version} cannot be read: {error}") from error
    if hashlib.sha256(data).hexdigest() != recorded.get("sha256"):
        raise GateInputMissing(f"the predictions of version {version.version} are not those that its manifest names")
    try:
        return Predicted(window, Predictions.decode(data))
    except ValueError as error:
        raise GateInputMissing(f"the predictions of version {version.version}: {error}") from error


def check_pairs(predictions: Predictions, ids: Sequence[str]) -> None:
    """Every usable event of the log, in the order of training, has exactly one prediction.

    Raises
    ------
    GateInputMissing
        If events were left out, added, repeated or taken in another order.
    """
    found = np.fromiter(map(id_hash, ids), dtype=np.int64, count=len(ids))
    stored = predictions.events
    if len(found) != len(stored):
        raise GateInputMissing(f"{len(stored)} events were predicted, the event log holds {len(found)} of that window")
    if len(wrong := np.flatnonzero(found != stored)):
        raise GateInputMissing(f"the predictions belong to other events than the log holds, first at {ids[wrong[0]]!r}")
