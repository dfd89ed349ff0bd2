"""Logistic regression on hashed features, trained on by every update, and its bundle without pickle."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from contract import Failure, Json, canonical, digest_of
from sklearn.feature_extraction import FeatureHasher
from sklearn.linear_model import SGDClassifier

FEATURES, BATCH = 2**18, 256
_STATE = ("coef_", "intercept_", "t_")


class Clicks:
    """A warm-startable model; ``fields`` are the categorical fields of ``spec.data.schema``."""

    def __init__(self, fields: list[str], seed: int) -> None:
        self.fields = fields
        self._hasher = FeatureHasher(FEATURES, input_type="string")
        self._model = SGDClassifier(loss="log_loss", learning_rate="constant", eta0=0.05, alpha=1e-6, random_state=seed)

    def train(self, events: list[Json]) -> float:
        """One pass in the given order; gives the log loss of predicting every batch before training on it."""
        total = 0.0
        for begin in range(0, len(events), BATCH):
            batch = events[begin : begin + BATCH]
            labels = labels_of(batch)
            if hasattr(self._model, "coef_"):
                total += float(losses(self.predict(batch), labels).sum())
            self._model.partial_fit(self._encode(batch), labels, classes=[0, 1])
        return total / max(len(events) - BATCH, 1)

    def predict(self, events: list[Json]) -> np.ndarray[Any, Any]:
        """Probabilities of a click ``[n]``."""
        found: np.ndarray[Any, Any] = self._model.predict_proba(self._encode(events))[:, 1]
        return found

    def save(self, folder: Path, provenance: Json, golden: list[Json]) -> str:
        """Write a bundle; gives its digest. The manifest is written last."""
        folder.mkdir(parents=True)
        np.savez(folder / "weights.npz", **{name: np.asarray(getattr(self._model, name)) for name in _STATE})
        (folder / "model.json").write_bytes(canonical({"library": "scikit-learn", "fields": self.fields}))
        (folder / "golden.json").write_bytes(canonical(self.golden(golden)))
        manifest = {**provenance, "schema": "viridian.bundle/v1", "files": {p.name: _file(p) for p in folder.iterdir()}}
        (folder / "manifest.json").write_bytes(canonical(manifest))
        return digest_of(manifest)

    def load(self, folder: Path, digest: str) -> Clicks:
        """Take over the weights of a bundle after checking every file."""
        manifest = json.loads((folder / "manifest.json").read_bytes())
        if digest_of(manifest) != digest or any(_file(folder / name) != e for name, e in manifest["files"].items()):
            raise Failure(3, "GateInputMissing", f"the bundle in the registry is not {digest}")
        with np.load(folder / "weights.npz", allow_pickle=False) as state:
            for name in _STATE:
                setattr(self._model, name, state[name] if name != "t_" else float(state[name]))
        self._model.classes_ = np.array([0, 1])
        return self

    def golden(self, events: list[Json]) -> Json:
        """Requests with the answers of the finished weights, in the words of the Open Inference Protocol."""
        shape = [len(events)]
        inputs = [_tensor(name, "BYTES", shape, [str(event[name]) for event in events]) for name in self.fields]
        answers = [round(float(value), 7) for value in self.predict(events)]
        request = {"inputs": inputs, "outputs": [_tensor("probability", "FP32", shape, answers)]}
        return {"tolerance": 1e-4, "requests": [request]}

    def _encode(self, events: list[Json]) -> Any:
        return self._hasher.transform([[f"{name}={event[name]}" for name in self.fields] for event in events])


def labels_of(events: list[Json]) -> np.ndarray[Any, Any]:
    """Labels, 0 or 1, ``[n]``."""
    return np.array([event["label"] for event in events])


def losses(probabilities: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Log loss per event ``[n]``."""
    right = np.where(labels == 1, probabilities, 1 - probabilities)
    found: np.ndarray[Any, Any] = -np.log(np.clip(right, 1e-12, 1))
    return found


def _tensor(name: str, datatype: str, shape: list[int], values: list[Any]) -> Json:
    return {"name": name, "datatype": datatype, "shape": shape, "data": values}


def _file(path: Path) -> Json:
    return {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "size": path.stat().st_size}
