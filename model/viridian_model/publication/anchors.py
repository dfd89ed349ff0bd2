"""Bundles in a store."""

from __future__ import annotations

from pathlib import Path

from viridian_model.publication.head import Anchor
from viridian_model.store.protocol import Store


def put_anchor(store: Store, model: str, version: str, directory: Path) -> Anchor:
    """Write the files of a bundle, the manifest last; what stands there already is left. Returns it for the head.

    Raises:
        BadBundle, DigestMismatch: the bundle is not whole.
    """
    raise NotImplementedError


def fetch_anchor(store: Store, model: str, digest: str, directory: Path) -> None:
    """Fetch a bundle into ``directory``, which appears when every file is verified, or not at all.

    Raises:
        Absent: a file is not in the store.
        BadBundle, DigestMismatch: a file is another one; names it.
    """
    raise NotImplementedError
