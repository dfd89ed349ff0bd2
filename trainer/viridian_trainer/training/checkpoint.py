"""Checkpoints: weights, optimizer, reader positions, random state and predictions in one file that appears
complete or not at all.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xxhash
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from torch import Tensor

from viridian_model.canonical import digest_of
from viridian_model.storage import sync
from viridian_trainer.environment import Update
from viridian_trainer.errors import BadConfig

_log = logging.getLogger(__name__)
#: Raised whenever the content of checkpoints changes, so that none of another trainer is continued.
FORMAT = 4
#: How long a file that another process wrote may take to be seen on a volume that several nodes mount.
SHARED_SECONDS = 30.0
_NAME = re.compile(r"([0-9]{12})-([0-9a-f]{32})\.safetensors")


@dataclass(frozen=True)
class Checkpoint:
    """What was saved: tensors by name and a JSON object; ``name`` is that of the file."""

    tensors: dict[str, Tensor]
    meta: dict[str, Any]
    name: str


class CheckpointStore:
    """The checkpoints of one training: one update number with one window, parent and configuration.

    The name of a file holds its number of events and the xxh3-128 of its bytes, so that a damaged file is
    passed over in favour of an older one. Checkpoints of other updates of the same resource are removed at
    the start.
    """

    def __init__(self, root: Path, update: Update, identity: Mapping[str, Any]) -> None:
        uid = re.sub(r"[^A-Za-z0-9-]", "_", update.uid)
        key = digest_of({**identity, "update": update.tag, "format": FORMAT}).removeprefix("sha256:")[:16]
        self._directory = root / f"{uid}.{update.number}.{key}"
        self._prefix = f"{uid}."

    @property
    def directory(self) -> Path:
        """Where the checkpoints of this training are."""
        return self._directory

    def open(self) -> None:
        """Make the directory and remove what earlier updates left.

        Raises
        ------
        BadConfig
            If the directory cannot be written.
        """
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadConfig(
                f"VIRIDIAN_CHECKPOINT_DIR {self._directory.parent} cannot be written: {error.strerror}"
            ) from None
        for other in self._directory.parent.glob(f"{self._prefix}*"):
            if other != self._directory:
                shutil.rmtree(other, ignore_errors=True)

    def save(self, events: int, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> str | None:
        """Write a checkpoint after ``events`` events and give its name; None, and a warning in the log, if the disk
        refuses it.
        """
        contiguous = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        data = save(contiguous, metadata={"meta": json.dumps(meta)})
        target = self._directory / f"{events:012d}-{xxhash.xxh3_128_hexdigest(data)}.safetensors"
        unfinished = target.with_suffix(".tmp")
        try:
            unfinished.write_bytes(data)
            sync(unfinished)
            unfinished.rename(target)
            sync(self._directory)
        except OSError as error:
            _log.warning("cannot write a checkpoint to %s: %s", self._directory, error)
            unfinished.unlink(missing_ok=True)
            return None
        for older in self._files()[1:]:
            older.unlink(missing_ok=True)
        return target.name

    def newest(self) -> Checkpoint | None:
        """The newest undamaged checkpoint."""
        return next((found for path in self._files() if (found := _read(path))), None)

    def shared(self, name: str) -> Checkpoint:
        """The checkpoint that another process has just written, as soon as the file system shows it here.

        Raises
        ------
        BadConfig
            If it does not within half a minute.
        """
        path, deadline = self._directory / name, time.monotonic() + SHARED_SECONDS
        while (found := _read(path) if path.exists() else None) is None:
            if time.monotonic() > deadline:
                raise BadConfig(
                    f"VIRIDIAN_CHECKPOINT_DIR {self._directory.parent} does not hold the checkpoint that the first "
                    "process of the training wrote there: set spec.training.checkpoint to a volume claim that all pods "
                    "can mount (ReadWriteMany)"
                )
            time.sleep(SHARED_SECONDS / 100)
        return found

    def remove(self) -> None:
        """Forget the training, once its version is registered."""
        shutil.rmtree(self._directory, ignore_errors=True)

    def _files(self) -> list[Path]:
        """Complete checkpoints, newest first."""
        return sorted(
            (path for path in self._directory.glob("*.safetensors") if _NAME.fullmatch(path.name)),
            reverse=True,
        )


def _read(path: Path) -> Checkpoint | None:
    """The checkpoint in a file; None, and a warning in the log, if it is damaged."""
    data = path.read_bytes()
    if xxhash.xxh3_128_hexdigest(data) != path.stem.partition("-")[2]:
        _log.warning("checkpoint %s is damaged and passed over", path.name)
        return None
    try:
        with safe_open(path, framework="pt") as file:
            meta = json.loads(file.metadata()["meta"])
        return Checkpoint(load(data), meta, path.name)
    except (SafetensorError, KeyError, ValueError) as error:
        _log.warning("checkpoint %s cannot be read: %s", path.name, error)
        return None
