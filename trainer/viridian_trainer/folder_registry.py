"""A registry in a plain folder, for one person at one machine: ``<folder>/<model>/<version>/bundle`` beside
its tags.
"""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from viridian_model.storage import sync, write_file
from viridian_trainer.environment import Update, VersionRef
from viridian_trainer.registry import UPDATE, Registered, Run, VersionMissing


class FolderRun:
    """``Run`` as a folder with metrics and files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def run_id(self) -> str:
        """See ``Run``."""
        return self._folder.name

    @property
    def experiment(self) -> str:
        """See ``Run``."""
        return ""

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """See ``Run``."""
        with (self._folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")

    def file(self, path: Path, folder: str | None = None) -> None:
        """See ``Run``."""
        target = self._folder / (folder or "")
        target.mkdir(exist_ok=True)
        write_file(target / path.name, path.read_bytes())

    def end(self, status: Literal["FINISHED", "FAILED", "KILLED"]) -> None:
        """See ``Run``."""
        (self._folder / "status").write_text(status)


class FolderRegistry:
    """``Registry`` in a folder; one process at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def start(self, update: Update, task: str, params: Mapping[str, Any]) -> FolderRun:
        """See ``Registry``."""
        folder = self._folder / "runs" / f"{update.number:06d}-{task.lower()}-{uuid.uuid4().hex[:8]}"
        folder.mkdir(parents=True)
        (folder / "params.json").write_text(json.dumps(dict(params), indent=1, default=str))
        return FolderRun(folder)

    def newest(self, model: str) -> Registered | None:
        """See ``Registry``."""
        versions = self.versions(model)
        return self.read(model, versions[-1]) if versions else None

    def version(self, model: str, number: str) -> Registered:
        """See ``Registry``."""
        if not number.isdigit() or int(number) not in self.versions(model):
            raise VersionMissing(f"{self._folder} holds no version {number} of model {model}")
        return self.read(model, int(number))

    def find(self, model: str, update: Update) -> Registered | None:
        """See ``Registry``."""
        for version in reversed(self.versions(model)):
            found = self.read(model, version)
            if found.tags.get(UPDATE) == update.tag:
                return found
            if _is_older(found.tags.get(UPDATE, ""), update):
                break
        return None

    def register(
        self, run: Run, model: str, bundle: Path, tags: Mapping[str, str], result: Mapping[str, Any]
    ) -> Registered:
        """See ``Registry``."""
        version = str(max(self.versions(model), default=0) + 1)
        folder = self._folder / model / version
        unfinished = self._folder / model / f".{version}"
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.copytree(bundle, unfinished / "bundle")
        description = {"runID": run.run_id, "tags": dict(tags), "result": dict(result)}
        (unfinished / "version.json").write_text(json.dumps(description, indent=1))
        for path in sorted(unfinished.rglob("*")):
            sync(path)
        unfinished.rename(folder)
        sync(folder.parent)
        return self.read(model, int(version))

    def artifact(self, run_id: str, path: str, folder: Path) -> Path:  # noqa: ARG002
        """See ``Registry``; nothing is copied."""
        found = self._folder / "runs" / run_id / path
        if not found.is_file():
            raise VersionMissing(f"{found} does not exist")
        return found

    def fetch(self, model: str, version: VersionRef, folder: Path) -> Path:  # noqa: ARG002
        """See ``Registry``; nothing is copied."""
        bundle = self._folder / model / version.version / "bundle"
        if not bundle.is_dir():
            raise VersionMissing(f"{bundle} does not exist")
        return bundle

    def journal(self, model: str) -> Path:
        """Where a loop keeps what it decided about ``model``."""
        return self._folder / model / "journal"

    def versions(self, model: str) -> list[int]:
        """Numbers of the versions of ``model``, oldest first."""
        folder = self._folder / model
        return sorted(int(path.name) for path in folder.glob("*") if path.name.isdigit())

    def read(self, model: str, version: int) -> Registered:
        """Description of one version."""
        description: dict[str, Any] = json.loads((self._folder / model / str(version) / "version.json").read_text())
        return Registered(str(version), description["runID"], description["tags"], description["result"])


def _is_older(tag: str, update: Update) -> bool:
    """Whether ``tag`` is that of an earlier update of the same resource: none before it can be ``update``."""
    uid, _, number = tag.rpartition("/")
    return uid == update.uid and number.isdigit() and int(number) < update.number
