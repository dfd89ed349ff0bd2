"""Checkpoints: weights, optimizer, reader positions, random state and predictions in one file that appears
complete or not at all.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
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
FORMAT = 3
_NAME = re.compile(r"([0-9]{12})-([0-9a-f]{32})\.safetensors")


@dataclass(frozen=True)
class Checkpoint:
    """What was saved: tensors by name and a JSON object."""

    tensors: dict[str, Tensor]
    meta: dict[str, Any]


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

    def save(self, events: int, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> bool:
        """Write a checkpoint after ``events`` events; false, and a warning in the log, if the disk refuses
        it.
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
            return False
        for older in self._files()[1:]:
            older.unlink(missing_ok=True)
        return True

    def newest(self) -> Checkpoint | None:
        """The newest undamaged checkpoint."""
        for path in self._files():
            data = path.read_bytes()
            if xxhash.xxh3_128_hexdigest(data) != path.stem.partition("-")[2]:
                _log.warning("checkpoint %s is damaged and passed over", path.name)
                continue
            try:
                with safe_open(path, framework="pt") as file:
                    meta = json.loads(file.metadata()["meta"])
                return Checkpoint(load(data), meta)
            except (SafetensorError, KeyError, ValueError) as error:
                _log.warning("checkpoint %s cannot be read: %s", path.name, error)
        return None

    def remove(self) -> None:
        """Forget the training, once its version is registered."""
        shutil.rmtree(self._directory, ignore_errors=True)

    def _files(self) -> list[Path]:
        """Complete checkpoints, newest first."""
        return sorted(
            (path for path in self._directory.glob("*.safetensors") if _NAME.fullmatch(path.name)),
            reverse=True,
        )
