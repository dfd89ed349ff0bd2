"""Where champions come from: this machine, the store or the registry."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from viridian_model.bundle import Bundle
from viridian_model.errors import BundleError
from viridian_model.publication.anchors import fetch_anchor
from viridian_model.publication.head import Head
from viridian_model.store import Absent, Store
from viridian_trainer.download import fetch_bundle
from viridian_trainer.environment import OnlineInput, VersionRef
from viridian_trainer.errors import BadConfig, BadData
from viridian_trainer.online.anchors import Anchors
from viridian_trainer.online.champion import Champion
from viridian_trainer.online.publication import Pause, patiently
from viridian_trainer.online.recovery import total
from viridian_trainer.registry import Registry, VersionMissing


class Champions:
    """Finds the version that online training starts from; ``scratch`` is a folder for downloads, made when needed."""

    def __init__(
        self, task: OnlineInput, store: Store, versions: Registry, anchors: Anchors, scratch: Path, pause: Pause
    ) -> None:
        if task.parent is None:
            raise BadConfig("online training starts from a champion")
        #: the one that the operator named
        self.named = task.parent
        self._model, self._chain = task.model_name, task.chain
        self._store, self._versions, self._anchors = store, versions, anchors
        self._scratch, self._pause = scratch, pause

    def base(self, head: Head | None, known: Collection[str]) -> Champion:
        """The anchor of the head, or the one that was named, if its digest is not ``known`` and it was trained further.

        Raises
        ------
        TaskError
            As for `get`.
        """
        if head is None or head.anchor.digest == self.named.digest:
            return self.get(self.named)
        served = self.get(VersionRef(head.anchor.version, head.anchor.digest))
        if self.named.digest in known:
            return served
        named = self.get(self.named)
        further = total(named.bundle.manifest.trained_to) > total(served.bundle.manifest.trained_to)
        return named if further else served

    def get(self, ref: VersionRef) -> Champion:
        """A version, from whichever has it first.

        Raises
        ------
        BadData
            If its bundle is damaged, or nobody has it.
        RegistryUnreachable
            If the registry does not answer; the store is waited for.
        """
        path = self._anchors.path(ref.digest)
        try:
            if not path.exists():
                patiently(lambda: fetch_anchor(self._store, self._chain, ref.digest, path), self._pause)
            return Champion(ref.version, self._anchors.bundle(ref.digest))
        except Absent:
            return Champion(ref.version, self._registered(ref))
        except BundleError as error:
            raise BadData(f"the bundle of version {ref.version} cannot be used: {error.message}") from error

    def _registered(self, ref: VersionRef) -> Bundle:
        self._scratch.mkdir(exist_ok=True)
        try:
            return fetch_bundle(self._versions, self._model, ref, self._scratch)
        except VersionMissing as error:
            raise BadData(f"the champion cannot be read: {error}") from error
