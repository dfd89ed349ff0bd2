"""Digest of a version that carries none: over the list of its artifacts, as MLflow shows it.

It tells one version from another and notices a file that was added, removed or changed in size. It is no
digest of contents, which only whoever loads the files can check.
"""

from __future__ import annotations

import hashlib
import json
import re

from viridian_operator.registry.errors import Invalid
from viridian_operator.registry.mlflow import MlflowRegistry
from viridian_operator.registry.versions import ModelVersion

#: pages and folders that are asked for at most
_LIMIT = 100
_LOGGED_MODEL = re.compile(r"(?:^models:/|/models/)(m-[0-9a-f]+)(?:/artifacts)?/?(.*)$")

#: path within the version, size in bytes
File = tuple[str, int]


async def artifacts(registry: MlflowRegistry, version: ModelVersion) -> list[File]:
    """All files of a version, sorted by path; empty if its source is nothing that MLflow can list.

    Raises
    ------
    RegistryError
        If the registry does not tell; ``Invalid`` for more than a hundred folders.
    """
    if (where := _where(version)) is None:
        return []
    path, query, key, root = where
    pending, files = [({key: root} if root else {})], list[File]()
    for _ in range(_LIMIT):
        if not pending:
            return sorted(files)
        asked = pending.pop()
        page = await registry.artifacts(path, {**query, **asked})
        for entry in page.get("files") or []:
            if entry.get("is_dir"):
                pending.append({key: entry["path"]})
            else:
                files.append((entry["path"], int(entry.get("file_size") or 0)))
        if token := page.get("next_page_token"):
            pending.append({**asked, "page_token": token})
    raise Invalid(f"version {version.version} has more than {_LIMIT} folders: set its tag viridian.digest")


def _where(version: ModelVersion) -> tuple[str, dict[str, str], str, str] | None:
    """Path of the request, its fixed parameters, the name of that for the folder, and the first folder."""
    if found := _LOGGED_MODEL.search(version.source):
        model, folder = found.groups()
        return f"logged-models/{model}/artifacts/directories", {}, "artifact_directory_path", folder
    run = version.run_id
    for start in (f"runs:/{run}", f"{run}/artifacts"):
        before, found_start, folder = version.source.partition(start)
        if run and found_start and (not before or before.endswith("/")):
            return "artifacts/list", {"run_id": run}, "path", folder.strip("/")
    return None


def digest_of(version: ModelVersion, files: list[File]) -> str:
    """SHA-256 over source and list of artifacts."""
    text = json.dumps({"source": version.source, "files": files}, sort_keys=True, separators=(",", ":"))
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
