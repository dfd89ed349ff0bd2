"""The invariants of DESIGN.md §6 that can be seen from outside, checked at every change of the cluster."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from faults.timeline import Change
from viridian_operator.api.names import ANNOTATION_DIGEST, MODEL_UPDATE, REVISION

SERVICE_NAME = "kubernetes.io/service-name"
#: phases in which blue stands by at full size
STANDING_BY = frozenset({"Switching", "Baking", "RollingBack"})


@dataclass
class Watchman:
    """What is known after the changes so far, and what was wrong on the way.

    Parameters
    ----------
    name
        Of the ModelUpdate and of its active Service.
    """

    name: str
    selected: str = ""
    #: revisions that the active Service selected, in their order
    selections: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    _ready: dict[str, int] = field(default_factory=dict)
    _size: dict[str, int] = field(default_factory=dict)
    _digest: dict[str, str] = field(default_factory=dict)
    _status: dict[str, object] = field(default_factory=dict)
    _passed: set[str] = field(default_factory=set)

    def look(self, changes: Iterable[Change]) -> Watchman:
        """Take in ``changes``, which are in order."""
        for change in changes:
            match change.kind:
                case "Service" if change.name == self.name:
                    self._service(change)
                case "EndpointSlice":
                    self._slice(change)
                case "Deployment":
                    self._deployment(change)
                case "ModelUpdate" if change.name == self.name:
                    self._model_update(change)
        return self

    def _service(self, change: Change) -> None:
        if change.type == "DELETED":
            self._note(change, "the active Service was deleted")
            return
        selector = change.object["spec"].get("selector") or {}
        revision = selector.get(REVISION, "")
        if set(selector) != {MODEL_UPDATE, REVISION} or not revision:
            self._note(change, f"the active Service selects {selector}")
        elif revision != self.selected:
            self.selected = revision
            self.selections.append(revision)
            if (digest := self._digest.get(revision, "")) not in self._passed:
                self._note(change, f"revision {revision} has the traffic, but {digest or 'its digest'} passed no gate")

    def _slice(self, change: Change) -> None:
        if (change.object["metadata"].get("labels") or {}).get(SERVICE_NAME) != self.name:
            return
        before = sum(self._ready.values())
        endpoints = change.object.get("endpoints") or ()
        ready = sum((each.get("conditions") or {}).get("ready") is not False for each in endpoints)
        self._ready[change.name] = 0 if change.type == "DELETED" else ready
        if before and not sum(self._ready.values()):
            self._note(change, "the active Service has no ready endpoint")

    def _deployment(self, change: Change) -> None:
        revision = change.object["metadata"]["labels"].get(REVISION, "")
        size = 0 if change.type == "DELETED" else int(change.object["spec"]["replicas"])
        before = self._size.get(revision, 0)
        self._size[revision] = size
        self._swap(change, revision, (change.object["metadata"].get("annotations") or {}).get(ANNOTATION_DIGEST, ""))
        if size >= before:
            return
        if revision == self.selected:
            self._note(change, f"{change.name} shrank from {before} to {size} while it was selected")
        elif self._status.get("phase") in STANDING_BY and revision == self._blue():
            self._note(change, f"blue {change.name} shrank from {before} to {size} while green was not proven")

    def _swap(self, change: Change, revision: str, digest: str) -> None:
        """Pods that have the traffic are told to serve another version: it must have passed the gate like any."""
        before, self._digest[revision] = self._digest.get(revision), digest
        if revision == self.selected and before not in (None, digest) and digest not in self._passed:
            self._note(change, f"{change.name} serves {digest}, which passed no gate")

    def _model_update(self, change: Change) -> None:
        self._status = status = change.object.get("status") or {}
        update = status.get("update") or {}
        evaluation = update.get("evaluation") or {}
        if evaluation.get("verdict") == "Pass" or evaluation.get("overriddenBy") or update.get("kind") == "Pin":
            self._passed.add((update.get("candidate") or {}).get("digest", ""))
        for condition in status.get("conditions") or ():
            if condition["type"] == "InvariantViolated":
                self._note(change, f"the operator itself found: {condition['message']}")
        for known in (status.get("active"), status.get("champion"), status.get("previous")):
            self._passed.add((known or {}).get("digest", ""))

    def _blue(self) -> str:
        key = "active" if self._status.get("phase") == "Switching" else "previous"
        revision = self._status.get(key)
        return str(revision.get("hash")) if isinstance(revision, dict) else ""

    def _note(self, change: Change, what: str) -> None:
        self.wrong.append(f"at {change.version} in phase {self._status.get('phase')}: {what}")
