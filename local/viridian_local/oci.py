"""The OCI layout in the cache that holds every built image, and handing images over to containerd.

A layer is stored once, however many images share it, and an import sends only those that containerd lacks, so that
after a change of code only the small top layer travels.
"""

import contextlib
import io
import json
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

from viridian_local.commands import failed
from viridian_local.paths import Paths, cache_dir

_NAME = "org.opencontainers.image.ref.name"
_CONTAINERD_NAME = "io.containerd.image.name"


def layout() -> Path:
    """The folder of the layout."""
    return cache_dir() / "images"


def _index() -> dict[str, Any]:
    try:
        index: dict[str, Any] = json.loads((layout() / "index.json").read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        index = {"schemaVersion": 2, "manifests": []}
    return index


def find(tag: str) -> dict[str, Any] | None:
    """The descriptor of the manifest that carries ``tag``, if all its content is there."""
    for descriptor in _index()["manifests"]:
        if descriptor.get("annotations", {}).get(_NAME) == tag:
            complete = all(_blob(digest).exists() for digest in _reachable(descriptor))
            return descriptor if complete else None
    return None


def forget_others(name: str, keep: str) -> None:
    """Drop the image's older versions and all content that no image needs any more."""
    index = _index()
    index["manifests"] = [entry for entry in index["manifests"] if not _superseded(entry, name, keep)]
    (layout() / "index.json").write_text(json.dumps(index))
    needed = {digest for entry in index["manifests"] for digest in _reachable(entry)}
    for blob in (layout() / "blobs" / "sha256").iterdir():
        if f"sha256:{blob.name}" not in needed:
            blob.unlink()


def _superseded(entry: dict[str, Any], name: str, keep: str) -> bool:
    tag = entry.get("annotations", {}).get(_NAME, "")
    return not tag or (tag.rpartition("-")[0] == name and tag != keep)


def _blob(digest: str) -> Path:
    return layout() / "blobs" / digest.replace(":", "/")


def _reachable(descriptor: dict[str, Any]) -> Iterator[str]:
    """Digests of a manifest, its configuration and its layers."""
    yield descriptor["digest"]
    if _blob(descriptor["digest"]).exists():
        manifest = json.loads(_blob(descriptor["digest"]).read_text())
        yield manifest["config"]["digest"]
        yield from (layer["digest"] for layer in manifest["layers"])


def import_image(paths: Paths, tag: str, references: list[str]) -> None:
    """Give the image that carries ``tag`` to containerd under every name of ``references``."""
    descriptor = find(tag)
    if descriptor is None:
        raise FileNotFoundError(f"no image {tag} in {layout()}")
    command = ["ctr", "-a", str(paths.socket), "-n", "k8s.io", "images", "import", "-"]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=said, stderr=said)
        # A broken pipe means that the client has ended; its status and words tell why.
        with contextlib.suppress(BrokenPipeError), process:
            _send(paths, descriptor, references, cast("IO[bytes]", process.stdin))
        said.seek(0)
        if process.returncode != 0:
            raise failed(command, process.returncode, said.read().decode(errors="replace").splitlines())


def _send(paths: Paths, descriptor: dict[str, Any], references: list[str], stream: IO[bytes]) -> None:
    present = paths.containerd / "io.containerd.content.v1.content" / "blobs"
    plain = {key: value for key, value in descriptor.items() if key != "annotations"}
    named = [{**plain, "annotations": {_CONTAINERD_NAME: reference}} for reference in references]
    with tarfile.open(fileobj=stream, mode="w|", format=tarfile.GNU_FORMAT) as archive:
        _add(archive, "oci-layout", json.dumps({"imageLayoutVersion": "1.0.0"}))
        _add(archive, "index.json", json.dumps({"schemaVersion": 2, "manifests": named}))
        for digest in dict.fromkeys(_reachable(descriptor)):
            path = digest.replace(":", "/")
            if not (present / path).exists():
                archive.add(_blob(digest), arcname=f"blobs/{path}")


def _add(archive: tarfile.TarFile, name: str, text: str) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(text.encode())
    archive.addfile(entry, io.BytesIO(text.encode()))
