"""What a task needs of a model registry, whether that is MLflow or a plain folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from viridian_trainer.environment import Update, VersionRef
from viridian_trainer.errors import BadData

#: Tags of a version, by the names of the contract.
UPDATE, DIGEST, WINDOW, PARENT = "viridian.update", "viridian.digest", "viridian.window", "viridian.parent"
#: Written by the operator.
VERDICT = "viridian.verdict"
TRAINED_TO, PREDICTED_FROM, EVENT_TIME, KIND, GOLDEN, GRAPH = (
    "viridian.trained-to",
    "viridian.predicted-from",
    "viridian.event-time",
    "viridian.kind",
    "viridian.golden",
    "viridian.graph",
)


class VersionMissing(Exception):
    """A version, or a file of it, does not exist or is not the one that was asked for."""


@dataclass(frozen=True)
class Registered:
    """A version in the registry; ``result`` is what its trainer reported, without version and run."""

    version: str
    run_id: str
    tags: Mapping[str, str]
    result: Mapping[str, Any]


class Run(Protocol):
    """The record of one attempt."""

    @property
    def run_id(self) -> str:
        """Identity of the run."""
        ...

    @property
    def experiment(self) -> str:
        """Identity of the group that pages for people show it in; "" in a registry without such pages."""
        ...

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Record metrics after ``step`` events; a registry that does not answer is no reason to stop
        training.
        """
        ...

    def file(self, path: Path, folder: str | None = None) -> None:
        """Record a file as an artifact, in ``folder``.

        Raises
        ------
        RegistryUnreachable
            If the registry does not answer.
        """
        ...

    def end(self, status: Literal["FINISHED", "FAILED", "KILLED"]) -> None:
        """Close the run; failures are logged only."""
        ...


class Registry(Protocol):
    """Versions of models, found again by the update that made them."""

    def start(self, update: Update, task: str, params: Mapping[str, Any]) -> Run:
        """Begin the run of an attempt.

        Raises
        ------
        RegistryUnreachable
            If the registry does not answer.
        """
        ...

    def newest(self, model: str) -> Registered | None:
        """The version with the greatest number."""
        ...

    def version(self, model: str, number: str) -> Registered:
        """One version.

        Raises
        ------
        VersionMissing
            If there is no such version.
        """
        ...

    def find(self, model: str, update: Update) -> Registered | None:
        """The version that an earlier attempt of ``update`` registered; the first one, if there are more."""
        ...

    def register(
        self, run: Run, model: str, bundle: Path, tags: Mapping[str, str], result: Mapping[str, Any]
    ) -> Registered:
        """Store the bundle under ``bundle/`` of the run and make a version of it, unless the update has one
        already.
        """
        ...

    def artifact(self, run_id: str, path: str, folder: Path) -> Path:
        """Download one file of a run into ``folder`` and give its path.

        Raises
        ------
        VersionMissing
            If the run has no such file.
        RegistryUnreachable
            If the registry does not answer.
        """
        ...

    def fetch(self, model: str, version: VersionRef, folder: Path) -> Path:
        """Download the bundle of a version into ``folder`` and give the path of the bundle.

        Raises
        ------
        VersionMissing
            If there is no such version.
        RegistryUnreachable
            If the registry does not answer.
        """
        ...


def check_adoptable(found: Registered, window: str, parent: str) -> Registered:
    """``found``, if it was trained on this window from this parent.

    Raises
    ------
    BadData
        If it was not: a version of the same update number but other data is never adopted.
    """
    for tag, wanted in ((WINDOW, window), (PARENT, parent)):
        if found.tags.get(tag, "") != wanted:
            raise BadData(
                f"version {found.version} is registered for this update with another {tag} "
                f"({found.tags.get(tag, '')[:200] or 'none'}); delete that version or start the next update"
            )
    return found
