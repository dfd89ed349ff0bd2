"""The ModelUpdate as its children see it: labels, owner reference, metadata."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from viridian_operator.api.base import API_VERSION, KIND
from viridian_operator.api.names import COMPONENT, MANAGED_BY, MANAGER, MODEL_UPDATE
from viridian_operator.kube.resources import Manifest

SERVING = "serving"
TRAINING = "training"
EVALUATION = "evaluation"
CHECK = "health-check"
DRIFT = "drift-monitor"


@dataclass(frozen=True)
class Owner:
    """Name, namespace and uid of the ModelUpdate that an object belongs to."""

    name: str
    namespace: str
    uid: str

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Self:
        """The owner out of a ModelUpdate as the API server holds it."""
        meta = body["metadata"]
        return cls(name=meta["name"], namespace=meta["namespace"], uid=meta["uid"])

    def reference(self) -> Manifest:
        """Owner reference that makes the garbage collector remove the object with its ModelUpdate."""
        return {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "name": self.name,
            "uid": self.uid,
            "controller": True,
            "blockOwnerDeletion": True,
        }

    def labels(self, component: str) -> dict[str, str]:
        """Labels of every child."""
        return {MANAGED_BY: MANAGER, MODEL_UPDATE: self.name, COMPONENT: component}

    def metadata(
        self,
        name: str,
        component: str,
        *,
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
        owned: bool = True,
    ) -> Manifest:
        """``metadata`` of a child; ``owned`` False leaves it behind when the ModelUpdate is deleted."""
        meta: Manifest = {
            "name": name,
            "namespace": self.namespace,
            "labels": {**(labels or {}), **self.labels(component)},
        }
        if annotations:
            meta["annotations"] = dict(annotations)
        if owned:
            meta["ownerReferences"] = [self.reference()]
        return meta
