"""Directory of verified bundles that the pods of a model share."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from viridian_model.canonical import directory_name
from viridian_model.errors import BundleError
from viridian_model.storage import partial_directory, publish

if TYPE_CHECKING:
    from viridian_model.bundle import Bundle

_ABANDONED = 24 * 3600


class BundleStore:
    """Bundles under ``<root>/<digest without sha256:>``; an entry is complete or not there."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, digest: str) -> Path:
        """Return where the bundle of ``digest`` stands or would stand."""
        return self.root / directory_name(digest)

    def read(self, digest: str) -> Bundle | None:
        """Verify and read an entry; None if there is none.

        Raises:
            BundleError: the entry is corrupt.
        """
        path = self.path(digest)
        return _read(path, digest) if path.is_dir() else None

    def quarantine(self, digest: str) -> None:
        """Move a corrupt entry aside (one per digest is kept for whoever looks into it)."""
        from viridian_model.bundle import verify

        path, aside = self.path(digest), self.root / f".{directory_name(digest)}.corrupt"
        shutil.rmtree(aside, ignore_errors=True)
        try:
            path.rename(aside)
        except OSError:
            return  # another pod moved it
        try:
            # Another pod may have put a good one there since we looked.
            verify(aside, digest)
            publish(aside, path)
        except BundleError:
            pass

    def add(self, digest: str, download: Callable[[Path], None]) -> Bundle:
        """Let ``download`` fill a hidden directory, verify it and give it its name.

        Several pods may do so at once: one name wins, all are equal.

        Raises:
            BundleError: what was downloaded is not the bundle of ``digest``.
            OSError: the store cannot be written.
        """
        self._remove_abandoned()
        final = self.path(digest)
        with partial_directory(final) as partial:
            download(partial)
            bundle = _read(partial, digest)
            if publish(partial, final):
                return replace(bundle, directory=final)
        return _read(final, digest)

    def _remove_abandoned(self) -> None:
        """Remove what pods that were killed while they fetched left behind."""
        for path in self.root.glob(".*.partial"):
            try:
                old = time.time() - path.stat().st_mtime > _ABANDONED
            except FileNotFoundError:
                continue
            if old:
                shutil.rmtree(path, ignore_errors=True)


def _read(path: Path, digest: str) -> Bundle:
    # Here and not above: the module brings torch, which is imported while the files are fetched.
    from viridian_model.bundle import read_bundle

    return read_bundle(path, digest)
