"""Images in the cache: only what is asked for stays, and an import sends only what is missing."""

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from viridian_local import oci
from viridian_local.paths import Paths


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VIRIDIAN_CACHE", str(tmp_path))
    (oci.layout() / "blobs/sha256").mkdir(parents=True)
    return oci.layout()


def blob(layout: Path, content: bytes) -> dict[str, Any]:
    digest = hashlib.sha256(content).hexdigest()
    (layout / "blobs/sha256" / digest).write_bytes(content)
    return {"digest": f"sha256:{digest}", "size": len(content)}


def image(layout: Path, tag: str, *layers: bytes) -> dict[str, Any]:
    manifest = {"config": blob(layout, tag.encode()), "layers": [blob(layout, layer) for layer in layers]}
    entry = {**blob(layout, json.dumps(manifest).encode()), "annotations": {"org.opencontainers.image.ref.name": tag}}
    file = layout / "index.json"
    index = json.loads(file.read_text()) if file.exists() else {"manifests": []}
    index["manifests"].append(entry)
    file.write_text(json.dumps(index))
    return entry


def test_older_versions_go_and_shared_layers_stay(layout: Path) -> None:
    image(layout, "server-1", b"base", b"old code")
    image(layout, "server-2", b"base", b"new code")
    image(layout, "redis-1", b"base")
    oci.forget_others("server", "server-2")
    assert oci.find("server-1") is None
    assert oci.find("server-2")
    assert oci.find("redis-1")
    kept = {path.read_bytes() for path in (layout / "blobs/sha256").iterdir()}
    assert b"old code" not in kept
    assert {b"base", b"new code"} <= kept


def test_an_image_with_a_missing_layer_is_not_found(layout: Path) -> None:
    image(layout, "server-1", b"base")
    (layout / "blobs/sha256" / hashlib.sha256(b"base").hexdigest()).unlink()
    assert oci.find("server-1") is None


def test_an_import_leaves_out_what_containerd_has(layout: Path, tmp_path: Path) -> None:
    entry = image(layout, "server-1", b"base", b"code")
    paths = Paths(state=tmp_path / "state", run=tmp_path / "run")
    present = paths.containerd / "io.containerd.content.v1.content/blobs/sha256"
    present.mkdir(parents=True)
    (present / hashlib.sha256(b"base").hexdigest()).write_bytes(b"base")
    stream = io.BytesIO()
    oci._send(paths, entry, ["viridian.local/server:1", "viridian.local/server:dev"], stream)
    stream.seek(0)
    with tarfile.open(fileobj=stream) as archive:
        files = {name: archive.extractfile(name).read() for name in archive.getnames()}  # type: ignore[union-attr]
    assert b"code" in files.values()
    assert b"base" not in files.values()
    named = json.loads(files["index.json"])["manifests"]
    assert [one["annotations"]["io.containerd.image.name"] for one in named] == [
        "viridian.local/server:1",
        "viridian.local/server:dev",
    ]
