"""The state of an online trainer on disk: a checkpoint now and then, and the steps since then."""

from __future__ import annotations

import fcntl
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from torch import Tensor

from viridian_trainer.environment import OnlineInput
from viridian_trainer.errors import BadUsage
from viridian_trainer.eventlog import Offset
from viridian_trainer.online.anchors import Written
from viridian_trainer.online.journal import StepJournal
from viridian_trainer.training.checkpoint import Checkpoint, CheckpointStore


@dataclass
class Standing:
    """What an online trainer knows beside its branch.

    ``epoch`` is that of the head it works on, ``champion`` version and digest, ``catching_up`` the offsets that readers
    have and this branch not yet, ``pending`` the anchor without verdict, ``known`` the digests of all champions so far;
    ``anchored_at`` (seconds since the epoch) and ``anchored_events`` tell of the last anchor.
    """

    epoch: int
    champion: tuple[str, str]
    shadow: bool = False
    catching_up: dict[str, Offset] | None = None
    pending: Written | None = None
    known: list[str] = field(default_factory=list)
    reverts: int = 0
    shadow_anchors: int = 0
    anchored_at: float = 0.0
    anchored_events: int = 0

    def wire(self) -> dict[str, Any]:
        """As JSON."""
        return {**vars(self), "champion": list(self.champion), "pending": self.pending.wire() if self.pending else None}

    @classmethod
    def load(cls, wire: Mapping[str, Any]) -> Standing:
        """From JSON."""
        pending = Written.load(wire["pending"]) if wire["pending"] else None
        return cls(**{**wire, "champion": tuple(wire["champion"]), "pending": pending})


class Checkpoints:
    """The folder of one chain of a ModelUpdate; one process at a time works in it."""

    def __init__(self, task: OnlineInput) -> None:
        # In the uid, since a folder of another configuration of the same uid is removed, and that of another chain is
        # in use, or is gone on from after a rollback.
        update = replace(task.update, uid=f"{task.update.uid}-online-{task.chain}", number=0)
        data = task.data.model_dump(mode="json", exclude={"source"})
        own = {"config": _without_pace(task.config), "seed": task.seed, "data": data, "model": task.model_name}
        self._store = CheckpointStore(task.checkpoint_dir, update, {"online": 1, **own})
        self._root = task.checkpoint_dir
        self._generation = 0
        self._lock: IO[bytes] | None = None
        self.journal: StepJournal

    def open(self) -> Checkpoint | None:
        """Take the folder; gives what `read` gives.

        Raises
        ------
        BadUsage
            If another process works in it.
        BadConfig
            If it cannot be written.
        """
        self._store.open()
        self._lock = (self._store.directory / "lock").open("wb")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BadUsage(f"another online trainer works in {self._root}; stop it first") from None
        return self.read()

    def read(self) -> Checkpoint | None:
        """The newest checkpoint, if there is one; `journal` holds the steps behind it."""
        found = self._store.newest()
        self._generation = int(found.meta["generation"]) if found else 0
        self.journal = StepJournal(self._store.directory, self._generation)
        return found

    @property
    def anchors(self) -> Path:
        """Where the bundles of anchors are kept."""
        return self._store.directory / "anchors"

    @property
    def scratch(self) -> Path:
        """Where versions of the registry are downloaded to."""
        return self._store.directory / "scratch"

    @property
    def holder(self) -> str:
        """Name of who works in this folder of this host, the same after a restart."""
        return f"{socket.gethostname()}:{self._store.directory.resolve()}"

    def save(self, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> bool:
        """Write a checkpoint; the steps before it are forgotten when it is on disk.

        A disk that refuses it is warned of in the log, and false: more steps are made again after a crash then.
        """
        generation = self._generation + 1
        if not self._store.save(generation, tensors, {**meta, "generation": generation}):
            return False
        self.journal.close()
        self._generation = generation
        self.journal = StepJournal(self._store.directory, generation)
        return True

    def close(self) -> None:
        """Let other processes in."""
        if self._lock is not None:
            self._lock.close()


def _without_pace(config: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in config.items() if name != "checkpointEvents"}
