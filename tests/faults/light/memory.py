"""Versions that a pod has loaded: the one that answers, the one before, the one that may answer next."""

from __future__ import annotations

import json
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contract import Failure, Mlflow, canonical, sha256

FETCH_SECONDS = 20.0


@dataclass
class Loaded:
    """A version and the fault that it has; ``error`` set: it could not be loaded."""

    revision: dict[str, Any]
    fault: dict[str, Any]
    phase: str = "Loading"
    error: dict[str, str] | None = None

    @property
    def digest(self) -> str:
        """What it says that it is."""
        return str(self.fault.get("digest") or self.revision["digest"])


class Memory:
    """What is loaded; every change is one assignment."""

    def __init__(self, current: Loaded) -> None:
        self.current = current
        self.previous: Loaded | None = None
        self.staged: Loaded | None = None

    def residents(self) -> list[dict[str, Any]]:
        """As the identity endpoint tells them; of digests, the true ones."""
        roles = {"Current": self.current, "Previous": self.previous, "Staged": self.staged}
        return [
            {
                "role": role,
                "version": each.revision["version"],
                "digest": each.revision["digest"],
                "phase": each.phase if role == "Staged" else "Ready",
                "error": each.error,
            }
            for role, each in roles.items()
            if each is not None
        ]

    def stage(self, wanted: Loaded) -> bool:
        """Begin to load a version beside what answers; False while another one is being loaded."""
        known = self.staged
        if known is not None and known.error is None and known.revision["digest"] == wanted.revision["digest"]:
            return True
        if known is not None and known.phase == "Loading":
            return False
        self.staged = wanted
        threading.Thread(target=_load_aside, args=[wanted], daemon=True).start()
        return True

    def flip(self, digest: str) -> bool:
        """Let a version that is loaded answer from the next request on; False if none has this digest."""
        if self.current.revision["digest"] == digest:
            return True
        for each in (self.staged, self.previous):
            if each is not None and each.phase == "Ready" and each.revision["digest"] == digest:
                self.previous, self.current = self.current, each
                self.staged = None if each is self.staged else self.staged
                return True
        return False

    def unstage(self) -> None:
        """Give up what was loaded beside."""
        self.staged = None


def _load_aside(wanted: Loaded) -> None:
    try:
        load(wanted)
    except Failure as failure:
        wanted.error, wanted.phase = json.loads(failure.text())["error"], "Failed"


def load(wanted: Loaded) -> None:
    """Fetch and verify the bundle; the store comes before MLflow."""
    misbehave(wanted.fault)
    time.sleep(float(wanted.fault.get("slow", 0)))
    digest = wanted.revision["digest"]
    store = Path(os.environ["VIRIDIAN_BUNDLE_STORE"]) / digest.removeprefix("sha256:")
    if not store.is_dir():
        _fetch(wanted.revision, store)
    manifest = (store / "manifest.json").read_text()
    if f"sha256:{sha256(canonical(json.loads(manifest)))}" != digest:
        raise Failure(65, "DigestMismatch", f"the manifest is not that of {digest}")
    if sha256((store / "weights").read_text()) != json.loads(manifest)["files"]["weights"]["sha256"]:
        raise Failure(65, "DigestMismatch", "the file weights is not that of the manifest")
    wanted.phase = "Ready"


def _fetch(revision: dict[str, Any], store: Path) -> None:
    """Into the store under its digest, complete or not at all; a registry that is away is waited for."""
    deadline = time.monotonic() + FETCH_SECONDS
    while True:
        try:
            files = _download(revision)
            break
        except Failure as failure:
            if failure.code != 75 or time.monotonic() > deadline:
                raise
            time.sleep(0.5)
    part = store.with_suffix(f".{os.getpid()}")
    part.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (part / name).write_text(text)
    manifest = f"sha256:{sha256(canonical(json.loads(files['manifest.json'])))}"
    if manifest != revision["digest"]:
        raise Failure(65, "DigestMismatch", f"the registry holds {manifest} instead of {revision['digest']}")
    part.rename(store)


def _download(revision: dict[str, Any]) -> dict[str, str]:
    registry = Mlflow()
    where = registry.get("model-versions/get-download-uri", name=revision["model"], version=revision["version"])
    texts = {name: where and registry.download(where["artifact_uri"], name) for name in ("manifest.json", "weights")}
    if missing := [name for name, text in texts.items() if text is None]:
        raise Failure(65, "VersionMissing", f"version {revision['version']} has no {' and no '.join(missing)}")
    return texts


def misbehave(fault: dict[str, Any]) -> None:
    """Crash or take memory until the end, if that is the fault."""
    if fault.get("crash"):
        os._exit(1)
    taken = []
    while fault.get("oom"):
        taken.append(b"\1" * (4 << 20))
