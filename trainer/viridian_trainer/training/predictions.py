"""What the candidate predicted of the newest slice, each event before it was trained on (prequential evidence).

Dawid, "Statistical Theory: The Prequential Approach", Journal of the Royal Statistical Society A 147 (1984).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

#: Where a training keeps the file among the artifacts of its run.
FOLDER, FILE = "prequential", "predictions.safetensors"
_PREFIX = "predictions/"


class Predictions:
    """Logits in the order of training, and which event ids were known when the slice began.

    With the known ids anybody can tell from the event log which of its entries were left out as duplicates.
    """

    def __init__(self, known: NDArray[np.int64]) -> None:
        """Begin a slice; ``known`` are the hashes of the remembered event ids ``[m]``, oldest first."""
        self.known = known
        self._events: list[Tensor] = []
        self._logits: list[Tensor] = []

    def __len__(self) -> int:
        return sum(map(len, self._events))

    def add(self, events: Tensor, logits: Tensor) -> None:
        """Add a batch: int64 hashes of event ids and float64 logits, both ``[n]``."""
        self._events.append(events)
        self._logits.append(logits)

    @property
    def events(self) -> NDArray[np.int64]:
        """Hashes of the ids of the predicted events ``[n]``."""
        return torch.cat([torch.zeros(0, dtype=torch.int64), *self._events]).numpy()

    @property
    def logits(self) -> NDArray[np.float64]:
        """Their logits ``[n]``."""
        return torch.cat([torch.zeros(0, dtype=torch.float64), *self._logits]).numpy()

    def state(self) -> dict[str, Tensor]:
        """Everything as tensors, for a checkpoint."""
        columns = {"events": self.events, "logits": self.logits, "known": self.known}
        return {_PREFIX + name: torch.from_numpy(column) for name, column in columns.items()}

    @classmethod
    def load(cls, tensors: Mapping[str, Tensor]) -> Self | None:
        """Go on from what `state` gave; None where no slice had begun."""
        if f"{_PREFIX}known" not in tensors:
            return None
        found = cls(tensors[f"{_PREFIX}known"].numpy())
        found.add(tensors[f"{_PREFIX}events"], tensors[f"{_PREFIX}logits"])
        return found

    def encode(self) -> bytes:
        """The evidence as a safetensors file; equal predictions give equal bytes."""
        return bytes(save(self.state()))

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read what `encode` wrote.

        Raises
        ------
        ValueError
            If it is something else.
        """
        try:
            tensors = load(data)
            found = cls.load(tensors)
            kinds = {name: (tensor.dtype, tensor.dim()) for name, tensor in tensors.items()}
        except (SafetensorError, KeyError) as error:
            raise ValueError(f"not a file of predictions: {error}") from error
        wanted = {"events": torch.int64, "logits": torch.float64, "known": torch.int64}
        if found is None or kinds != {_PREFIX + name: (dtype, 1) for name, dtype in wanted.items()}:
            raise ValueError("not a file of predictions: other tensors")
        if len(found.events) != len(found.logits):
            raise ValueError("not a file of predictions: not one logit for each event")
        return found
