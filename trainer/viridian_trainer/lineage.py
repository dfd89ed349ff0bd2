"""Where a version comes from, and whether every event of its lineage was trained on exactly once.

The ledger is computed from the event log: the entries between the recorded offsets are read again, repeated
ids are left out as in training, and the digest of what remains must be the one in the manifest.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from pydantic import ValidationError

from viridian_model.canonical import digest_of
from viridian_model.ids import id_hash
from viridian_model.manifest import Manifest
from viridian_model.schema import Schema
from viridian_trainer.environment import VersionRef
from viridian_trainer.errors import BadData
from viridian_trainer.eventlog import EventLog, Offset, Window, count_before, read
from viridian_trainer.eventlog.dedup import RecentIds
from viridian_trainer.eventlog.ledger import TrainedEntries
from viridian_trainer.online import passage
from viridian_trainer.registry import Registry, VersionMissing


@dataclass(frozen=True)
class Link:
    """One version of a lineage."""

    version: VersionRef
    manifest: Manifest
    #: where each batch of an online training ended, in the order of training
    batches: tuple[dict[str, Offset], ...] = ()

    @property
    def trained(self) -> Window:
        """The entries that training consumed."""
        return Window(self.manifest.window.start, self.manifest.trained_to)

    @property
    def parts(self) -> list[Window]:
        """``trained``, in the parts that were read one after the other: a slice that was predicted first comes
        last; an online training read batch by batch.
        """
        if self.batches:
            return list(self._read_in_batches())
        begins = ((self.manifest.model_extra or {}).get("prequential") or {}).get("from")
        if begins is None:
            return [self.trained]
        return [Window(self.trained.start, begins), Window(begins, self.trained.end)]

    def _read_in_batches(self) -> Iterator[Window]:
        position = dict(self.trained.start)
        for to in self.batches:
            yield Window({name: position.get(name, "0") for name in to}, to)
            position |= to

    @property
    def schema(self) -> Schema:
        """The schema that the events were read by.

        Raises
        ------
        BadData
            If the manifest does not record it.
        """
        try:
            return Schema.model_validate((self.manifest.model_extra or {})["inputs"]["data"]["event_schema"])
        except (KeyError, TypeError, ValidationError):
            raise BadData(f"version {self.version.version} does not record the inputs of its training") from None


@dataclass
class Ledger:
    """Counts over a lineage, read from the event log; ``problems`` is empty if every event was used once."""

    entries: int = 0
    events: int = 0
    duplicates: int = 0
    rejected: int = 0
    problems: list[str] = field(default_factory=list)


def lineage(registry: Registry, model: str, newest: VersionRef) -> list[Link]:
    """The versions from the Full update to ``newest``, each with its verified manifest.

    Raises
    ------
    BadData
        If a version is missing or is not the one that its child names.
    """
    links: list[Link] = []
    wanted: VersionRef | None = newest
    while wanted is not None:
        manifest = _manifest(registry, model, wanted)
        link = Link(wanted, manifest, _batches(registry, model, wanted, manifest))
        links.append(link)
        parent = link.manifest.parent
        wanted = VersionRef(parent.version, parent.digest) if parent else None
    return links[::-1]


def check_ledger(log: EventLog, links: Sequence[Link]) -> Ledger:
    """Read the log again and hold it against the manifests of a lineage.

    Raises
    ------
    DataTrimmed
        If the log no longer holds what was trained on.
    """
    ledger, recent, used = Ledger(), RecentIds(), set[int]()
    position: dict[str, Offset] | None = None
    for link in links:
        if position is not None and (problem := _gap(position, link)):
            ledger.problems.append(problem)
        _read_again(log, link, ledger, recent, used)
        position = dict(link.manifest.trained_to)
    return ledger


def _read_again(log: EventLog, link: Link, ledger: Ledger, recent: RecentIds, used: set[int]) -> None:
    trained, events = TrainedEntries(), 0
    for entry in chain.from_iterable(read(log, part, link.schema) for part in link.parts):
        ledger.entries += 1
        if entry.event is None:
            ledger.rejected += 1
        elif not recent.add(entry.event.id):
            ledger.duplicates += 1
        else:
            events += 1
            trained.add(entry)
            if (key := id_hash(entry.event.id)) in used:
                ledger.problems.append(f"{_name(link)} trained again on event {entry.event.id}")
            used.add(key)
    ledger.events += events
    if (said := link.manifest.events.get("trained")) != events:
        ledger.problems.append(f"{_name(link)} says {said} events, the log holds {events}")
    recorded = (link.manifest.model_extra or {}).get("ledger")
    if recorded != trained.hexdigest:
        ledger.problems.append(f"{_name(link)} trained on other entries than the log holds, or in another order")


def _gap(position: dict[str, Offset], link: Link) -> str:
    for partition, begins in link.manifest.window.start.items():
        before = count_before(position.get(partition, begins))
        if before != count_before(begins):
            return f"{_name(link)} begins at {begins} of partition {partition}, its parent ended at {before}"
    return ""


def _name(link: Link) -> str:
    return f"version {link.version.version}"


def _batches(registry: Registry, model: str, version: VersionRef, manifest: Manifest) -> tuple[dict[str, Offset], ...]:
    """What the manifest of an anchor names by its SHA-256; nothing for other versions."""
    recorded = (manifest.model_extra or {}).get("online")
    if recorded is None:
        return ()
    try:
        with tempfile.TemporaryDirectory(prefix="viridian-") as folder:
            run = registry.version(model, version.version).run_id
            data = registry.artifact(run, f"{passage.FOLDER}/{passage.FILE}", Path(folder)).read_bytes()
    except (VersionMissing, OSError) as error:
        raise BadData(f"the batches of version {version.version} cannot be read: {error}") from None
    if hashlib.sha256(data).hexdigest() != recorded["batches"]["sha256"]:
        raise BadData(f"the batches of version {version.version} are not those that its manifest names")
    return tuple(json.loads(data)["batches"])


def _manifest(registry: Registry, model: str, version: VersionRef) -> Manifest:
    try:
        with tempfile.TemporaryDirectory(prefix="viridian-") as folder:
            obj = json.loads((registry.fetch(model, version, Path(folder)) / "manifest.json").read_bytes())
    except (VersionMissing, OSError, ValueError) as error:
        raise BadData(f"version {version.version} of model {model} cannot be read: {error}") from None
    if digest_of(obj) != version.digest:
        raise BadData(f"version {version.version} of model {model} is not {version.digest}")
    return Manifest.from_json(obj)
