"""Bundles in a store."""

from __future__ import annotations

import json
from pathlib import Path

from viridian_model.bundle import MANIFEST, WEIGHTS, verify
from viridian_model.canonical import digest_of
from viridian_model.errors import BadBundle
from viridian_model.publication import keys
from viridian_model.publication.head import Anchor
from viridian_model.storage import partial_directory, publish
from viridian_model.store.protocol import Store


def put_anchor(store: Store, chain: str, version: str, directory: Path) -> Anchor:
    """Write the files of a bundle, the manifest last; what stands there already is left. Returns it for the head.

    Raises:
        BadBundle, DigestMismatch: the bundle is not whole.
    """
    manifest = verify(directory)
    digest = digest_of(json.loads((directory / MANIFEST).read_bytes()))
    for name in (*sorted(manifest.files), MANIFEST):
        store.put_new(keys.bundle_file(chain, digest, name), (directory / name).read_bytes())
    return Anchor(version=version, digest=digest, root=manifest.merkle_root, size=manifest.files[WEIGHTS].size)


def fetch_anchor(store: Store, chain: str, digest: str, directory: Path) -> None:
    """Fetch a bundle into ``directory``, which appears when every file is verified, or not at all.

    Raises:
        Absent: a file is not in the store.
        BadBundle, DigestMismatch: a file is another one; names it.
    """
    data = store.get(keys.bundle_file(chain, digest, MANIFEST))
    with partial_directory(directory) as partial:
        (partial / MANIFEST).write_bytes(data)
        for name in _names(data):
            (partial / name).write_bytes(store.get(keys.bundle_file(chain, digest, name)))
        verify(partial, digest)
        publish(partial, directory)


def _names(manifest: bytes) -> list[str]:
    from viridian_model.manifest import Manifest

    try:
        return sorted(Manifest.from_json(json.loads(manifest)).files)
    except ValueError as error:
        raise BadBundle(f"{MANIFEST} is not JSON: {error}") from None
