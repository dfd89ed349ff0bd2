"""Anchors: whole bundles of the online weights, put into the store and registered like any version.

Everything about an anchor follows from the weights and from its sequence. So whatever was interrupted is done again,
and gives the same digest, the same files and the same version.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from shutil import copyfile, rmtree
from typing import Any, Self

from viridian_model.bundle import Bundle, read_bundle, write_bundle
from viridian_model.canonical import canonical_json, directory_name
from viridian_model.errors import BundleError
from viridian_model.manifest import Code, Parent, Provenance
from viridian_model.manifest import Window as ManifestWindow
from viridian_model.publication.anchors import put_anchor
from viridian_model.publication.head import Anchor
from viridian_model.storage import write_file
from viridian_model.store import Store
from viridian_trainer import __version__, registry
from viridian_trainer.environment import OnlineInput, Update
from viridian_trainer.errors import BadData
from viridian_trainer.eventlog import Offset, Window
from viridian_trainer.export import golden_of
from viridian_trainer.online.branch import Branch
from viridian_trainer.online.passage import FILE, FOLDER, Passage
from viridian_trainer.registry import Registered, Registry, check_adoptable
from viridian_trainer.training.train import origin_of

KIND = "Anchor"


@dataclass(frozen=True)
class AnchorUpdate(Update):
    """The update that an anchor is registered as: ``<uid>/online/<epoch>.<n>``.

    Every chain counts its epochs from 1, so that ``chain`` stands before the sequence: ``<uid>/online/<chain>/…``,
    unless it is that of the model, of which there is only one.
    """

    sequence: str = ""
    chain: str = ""

    @property
    def tag(self) -> str:
        """Value of the tag ``viridian.update``."""
        return "/".join(part for part in (self.uid, "online", self.chain, self.sequence) if part)


@dataclass(frozen=True)
class Written:
    """An anchor on this machine: ``at`` in seconds since the epoch, ``version`` once it is registered."""

    sequence: str
    digest: str
    root: str
    start: dict[str, Offset]
    trained_to: dict[str, Offset]
    event_time: float
    events: dict[str, int]
    logloss: float
    at: float
    version: str = ""

    @property
    def window(self) -> Window:
        """From the end of the champion's to its own."""
        return Window(self.start, self.trained_to)

    def wire(self) -> dict[str, Any]:
        """State for a checkpoint."""
        return asdict(self)

    @classmethod
    def load(cls, wire: Mapping[str, Any]) -> Self:
        """Go on from what `wire` gave."""
        return cls(**wire)


class Anchors:
    """Writes the anchors of one ModelUpdate into a folder of bundles, and registers them."""

    def __init__(self, task: OnlineInput, folder: Path) -> None:
        self._task, self._folder = task, folder
        folder.mkdir(parents=True, exist_ok=True)

    def path(self, digest: str) -> Path:
        """Where the bundle of a digest is."""
        return self._folder / directory_name(digest)

    def bundle(self, digest: str) -> Bundle:
        """A bundle of the folder, verified."""
        return read_bundle(self.path(digest), digest)

    def keep(self, digests: set[str]) -> None:
        """Remove all bundles but these."""
        names = {directory_name(digest) for digest in digests}
        for path in self._folder.iterdir():
            if path.name.split(".")[0] not in names:
                rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)

    def write(self, branch: Branch, sequence: str, now: float) -> Written:
        """Export the weights of ``branch``, right after `Branch.begin_anchor`.

        Raises
        ------
        BadData
            If they cannot be exported (NaN, or golden requests that are too long).
        """
        learner, passage = branch.learner, branch.passage
        model = learner.model.eval()
        provenance = self._provenance(branch, sequence)
        draft = self._folder / f"draft-{sequence}"
        rmtree(draft, ignore_errors=True)  # of a process that was killed while it removed it
        try:
            digest = write_bundle(
                draft,
                provenance=provenance,
                spec=branch.champion.bundle.spec,
                model=model,
                optimizer=learner.kept(),
                golden=golden_of(model, list(learner.golden)),
            )
        except BundleError as error:
            raise BadData(f"the weights cannot be exported as an anchor: {error.message}") from error
        finally:
            model.train()
        self._take(draft, digest, passage)
        return self._written(branch, sequence, digest, now)

    def _take(self, draft: Path, digest: str, passage: Passage) -> None:
        """Give the draft its name, and keep its batches beside it."""
        write_file(self.path(digest).with_suffix(".json"), passage.encode())
        if self.path(digest).exists():
            rmtree(draft)
        else:
            draft.rename(self.path(digest))

    def _written(self, branch: Branch, sequence: str, digest: str, now: float) -> Written:
        counts = branch.learner.counts
        return Written(
            sequence=sequence,
            digest=digest,
            root=self.bundle(digest).manifest.merkle_root,
            start=dict(branch.passage.start),
            trained_to=dict(branch.learner.offsets),
            event_time=branch.learner.watermark.newest,
            events=branch.passage.events(counts),
            logloss=branch.learner.logloss,
            at=now,
        )

    def _provenance(self, branch: Branch, sequence: str) -> Provenance:
        task, passage, champion = self._task, branch.passage, branch.champion
        parent = champion.bundle.manifest
        learner = branch.learner
        window = Window(passage.start, learner.offsets)
        extra: dict[str, Any] = {
            "origin": origin_of(champion.bundle),
            "ledger": passage.ledger.hexdigest,
            "online": {"sequence": sequence, "batches": {"count": len(passage.batches), "sha256": passage.sha256}},
            "inputs": {
                "update": self.update(sequence).tag,
                "config": task.config,
                "seed": task.seed,
                "data": task.data.model_dump(mode="json", exclude={"source"}),
            },
        }
        return Provenance(
            model=task.model_name,
            kind="Incremental",
            lineage=parent.lineage,
            parent=Parent(version=champion.version, digest=champion.bundle.digest),
            window=ManifestWindow(start=dict(window.start), to=dict(window.end)),
            trained_to=dict(learner.offsets),
            event_time=learner.watermark.newest,
            seed=task.seed,
            events=passage.events(learner.counts),
            code=Code(version=__version__, image=os.environ.get("VIRIDIAN_IMAGE", "")),
            **extra,
        )

    def update(self, sequence: str) -> AnchorUpdate:
        """The update that the anchor of ``sequence`` is registered as."""
        task = self._task
        chain = "" if task.chain == task.model_name else task.chain
        return AnchorUpdate(**{**vars(task.update), "kind": "Incremental"}, sequence=sequence, chain=chain)

    def register(self, written: Written, store: Store, versions: Registry) -> tuple[Registered, Anchor]:
        """Put the bundle into the store and make a version of it, unless an earlier attempt did.

        Raises
        ------
        RegistryUnreachable, StoreUnavailable
            Call again.
        BadData
            If another anchor is registered under the same sequence.
        """
        update, bundle = self.update(written.sequence), self.bundle(written.digest)
        parent = bundle.manifest.parent.digest if bundle.manifest.parent else ""
        found = versions.find(self._task.model_name, update)
        if found is None:
            found = self._register(written, bundle, parent, versions)
        if found.tags.get(registry.DIGEST) != written.digest:
            raise BadData(f"version {found.version} is registered as {update.tag} with another digest")
        check_adoptable(found, written.window.canonical(), parent)
        return found, put_anchor(store, self._task.chain, found.version, self.path(written.digest))

    def _register(self, written: Written, bundle: Bundle, parent: str, versions: Registry) -> Registered:
        update, task = self.update(written.sequence), self._task
        tags = {
            registry.UPDATE: update.tag,
            registry.DIGEST: written.digest,
            registry.WINDOW: written.window.canonical(),
            registry.PARENT: parent,
            registry.TRAINED_TO: canonical_json(written.trained_to).decode(),
            registry.EVENT_TIME: repr(written.event_time),
            registry.KIND: KIND,
            registry.GOLDEN: canonical_json(bundle.golden.to_json()).decode(),
        }
        run = versions.start(update, "Online", {"sequence": written.sequence, "window": written.window.wire()})
        with tempfile.TemporaryDirectory(prefix="viridian-") as folder:
            run.file(Path(copyfile(self.path(written.digest).with_suffix(".json"), Path(folder, FILE))), FOLDER)
        run.metrics({"logloss": written.logloss}, written.events["trained"])
        registered = versions.register(run, task.model_name, bundle.directory, tags, _result(written))
        run.end("FINISHED")
        return registered


def _result(written: Written) -> dict[str, Any]:
    """What a training reports."""
    return {
        "task": "Online",
        "digest": written.digest,
        "trainedTo": written.trained_to,
        "eventTime": written.event_time,
        "events": written.events,
        "metrics": {"logloss": round(written.logloss, 6)},
    }
