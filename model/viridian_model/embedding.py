"""Embedding table that grows with the ids it sees."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import torch
import xxhash
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from viridian_model.ids import OOV_HASH, IdIndex, hash_ids

NOISE = 0.01
"""Half width of the uniform noise on new rows."""


class Growth(NamedTuple):
    """Rows of a table before and after it grew; new are ``old_rows`` … ``new_rows - 1``."""

    old_rows: int
    new_rows: int


class ExpandableEmbedding(nn.Module):
    """Table ``[capacity, dim]`` with one row per id, of which the first `rows` are in use.

    Row 0 answers for every unknown id; `refresh_oov` sets it to the mean of the others before an export. A
    new row starts as row 0 plus small noise that depends on the id and the table name only, so that its value
    does not depend on the order in which ids arrive. Capacity at least doubles when it is short; ``weight``
    is another `nn.Parameter` then, and `viridian_model.growth` takes the optimizer along.

    ``state_dict`` holds ``weight`` ``[rows, dim]`` and ``ids`` ``[rows]`` (int64 hashes, see
    `viridian_model.ids`) without the unused capacity.
    """

    weight: nn.Parameter

    def __init__(self, name: str, dim: int, *, sparse: bool = False) -> None:
        """Make a table with the out-of-vocabulary row only (zeros); ``sparse`` asks for sparse gradients."""
        super().__init__()
        self.name, self.dim, self.sparse = name, dim, sparse
        self.weight = nn.Parameter(torch.zeros(1, dim))
        self._hashes: NDArray[np.int64] = np.array([OOV_HASH], dtype=np.int64)
        self._index = IdIndex(self._hashes)

    @property
    def rows(self) -> int:
        """Rows in use, the out-of-vocabulary row included."""
        return len(self._index)

    @property
    def capacity(self) -> int:
        """Rows of ``weight``."""
        return len(self.weight)

    @property
    def ids(self) -> Tensor:
        """Hashes of the ids of the rows in use, int64 ``[rows]``, on the CPU."""
        return torch.from_numpy(self._hashes[: self.rows].copy())

    def rows_of(self, hashes: Tensor) -> Tensor:
        """Return the rows of ``hashes`` (int64 ``[n]``), 0 where unknown, on the device of the table."""
        rows = torch.from_numpy(self._index.rows_of(hashes.cpu().numpy()))
        return rows.to(self.weight.device)

    def forward(self, hashes: Tensor) -> Tensor:
        """Return the vectors ``[n, dim]`` of ``hashes`` (int64 ``[n]``)."""
        return functional.embedding(self.rows_of(hashes), self.weight, sparse=self.sparse)

    @torch.no_grad()
    def grow(self, ids: Tensor | Iterable[str | int]) -> Growth:
        """Add rows for those of ``ids`` (values, or hashes as int64 ``[n]``) that have none."""
        hashes = ids if isinstance(ids, Tensor) else hash_ids(ids)
        old = self.rows
        added = self._index.add(hashes.cpu().numpy())
        if len(added) == 0:
            return Growth(old, old)
        self._reserve(self.rows)
        self._hashes[old : self.rows] = added
        noise = torch.from_numpy(_noise(added, self.dim, salt=xxhash.xxh3_64_intdigest(self.name.encode())))
        self.weight[old : self.rows] = self.weight[0] + noise.to(self.weight.device)
        return Growth(old, self.rows)

    @torch.no_grad()
    def refresh_oov(self) -> None:
        """Set row 0 to the mean of all other rows in use; summed in float64 in a fixed order."""
        if self.rows > 1:
            known = self.weight[1 : self.rows].detach().cpu().numpy()
            self.weight[0] = torch.from_numpy(known.mean(axis=0, dtype=np.float64).astype(np.float32))

    def _reserve(self, rows: int) -> None:
        if rows <= self.capacity:
            return
        capacity = max(rows, 2 * self.capacity)
        # A new Parameter: autograd graphs that are still alive remember the old shape.
        self.weight = nn.Parameter(pad_rows(self.weight.detach(), capacity))
        self._hashes = np.concatenate([self._hashes, np.zeros(capacity - len(self._hashes), dtype=np.int64)])

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        weight = self.weight[: self.rows]
        destination[prefix + "weight"] = weight if keep_vars else weight.detach()
        destination[prefix + "ids"] = self.ids

    def _load_from_state_dict(
        self,
        state_dict: Any,
        prefix: str,
        local_metadata: Any,  # noqa: ARG002
        strict: bool,  # noqa: ARG002
        missing_keys: list[str],
        unexpected_keys: list[str],  # noqa: ARG002
        error_msgs: list[str],
    ) -> None:
        names = [prefix + "weight", prefix + "ids"]
        missing = [name for name in names if name not in state_dict]
        missing_keys.extend(missing)
        if not missing:
            problem = self._load(*(state_dict[name] for name in names))
            error_msgs.extend([f"table {self.name}: {problem}"] if problem else [])

    def _load(self, weight: Tensor, ids: Tensor) -> str:
        if weight.dim() != 2 or weight.shape[1] != self.dim or ids.shape != weight.shape[:1]:
            shapes = f"weight {list(weight.shape)} and ids {list(ids.shape)}"
            return f"{shapes} do not make a table of width {self.dim}"
        if ids.dtype != torch.int64:
            return f"ids must be int64, not {ids.dtype}"
        hashes = ids.cpu().numpy().copy()
        try:
            self._index = IdIndex(hashes)
        except ValueError as error:
            return str(error)
        self._hashes = hashes
        self.weight = nn.Parameter(weight.detach().to(self.weight.device, self.weight.dtype, copy=True))
        return ""


def pad_rows(tensor: Tensor, rows: int, fill: float = 0.0) -> Tensor:
    """Return ``tensor`` ``[n, …]`` with rows of ``fill`` added up to ``rows``; itself if long enough."""
    if len(tensor) >= rows:
        return tensor
    padded = tensor.new_full((rows, *tensor.shape[1:]), fill)
    padded[: len(tensor)] = tensor
    return padded


def _noise(hashes: NDArray[np.int64], dim: int, *, salt: int) -> NDArray[np.float32]:
    """Return uniform noise ``[n, dim]``, a pure function of id, column and salt.

    The mixer is splitmix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, OOPSLA 2014).
    """
    columns = np.arange(1, dim + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (hashes.view(np.uint64) ^ np.uint64(salt))[:, None] + columns
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    unit = ((z ^ (z >> np.uint64(31))) >> np.uint64(40)).astype(np.float32) / np.float32(1 << 24)
    noise: NDArray[np.float32] = unit * np.float32(2 * NOISE) - np.float32(NOISE)
    return noise
