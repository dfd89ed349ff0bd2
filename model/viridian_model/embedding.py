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

from viridian_model.chain.change import FREED
from viridian_model.ids import OOV_HASH, IdIndex, hash_ids

NOISE = 0.01
"""Half width of the uniform noise on new rows."""


class Changed(NamedTuple):
    """Rows that are no longer what they were, int64, ascending: ``written`` ones, and ``freed`` ones without an id."""

    written: Tensor
    freed: Tensor


class ExpandableEmbedding(nn.Module):
    """Table ``[capacity, dim]`` with one row per id, of which the first `rows` are in use.

    Row 0 answers for every unknown id; `refresh_oov` sets it to the mean of the others before an export. A
    new row starts as row 0 plus small noise that depends on the id and the table name only, so that its value
    does not depend on the order in which ids arrive. An evicted row holds zeros and the hash
    `viridian_model.chain.change.FREED` until the next new id gets it; all other rows stay where they are. Capacity at
    least doubles when it is short; ``weight`` is another `nn.Parameter` then, and `viridian_model.growth` takes
    the optimizer along.

    ``state_dict`` holds ``weight`` ``[rows, dim]`` and ``ids`` ``[rows]`` (int64 hashes, see
    `viridian_model.ids`) without the unused capacity.
    """

    weight: nn.Parameter
    oov_is_learned: bool = False
    """Row 0 was trained, on events of ids that were not admitted: it is more than a mean then."""

    def __init__(self, name: str, dim: int, *, sparse: bool = False) -> None:
        """Make a table with the out-of-vocabulary row only (zeros); ``sparse`` asks for sparse gradients."""
        super().__init__()
        self.name, self.dim, self.sparse = name, dim, sparse
        self.weight = nn.Parameter(torch.zeros(1, dim))
        self._hashes: NDArray[np.int64] = np.array([OOV_HASH], dtype=np.int64)
        self._index = IdIndex(self._hashes)
        self._cursor = 0
        self._changed_at: NDArray[np.int64] = np.zeros(1, dtype=np.int64)

    @property
    def rows(self) -> int:
        """Rows in use, the out-of-vocabulary row and freed ones included."""
        return len(self._index)

    @property
    def capacity(self) -> int:
        """Rows of ``weight``."""
        return len(self.weight)

    @property
    def ids(self) -> Tensor:
        """Hashes of the ids of the rows in use, int64 ``[rows]``, on the CPU."""
        return torch.from_numpy(self._hashes[: self.rows].copy())

    @property
    def id_rows(self) -> Tensor:
        """The rows that belong to an id, int64, ascending, on the CPU: neither row 0 nor freed ones."""
        return torch.from_numpy(np.flatnonzero(self._hashes[1 : self.rows] != FREED) + 1)

    def rows_of(self, hashes: Tensor) -> Tensor:
        """Return the rows of ``hashes`` (int64 ``[n]``), 0 where unknown, on the device of the table."""
        rows = torch.from_numpy(self._index.rows_of(hashes.cpu().numpy()))
        return rows.to(self.weight.device)

    def forward(self, hashes: Tensor) -> Tensor:
        """Return the vectors ``[n, dim]`` of ``hashes`` (int64 ``[n]``)."""
        return functional.embedding(self.rows_of(hashes), self.weight, sparse=self.sparse)

    @torch.no_grad()
    def grow(self, ids: Tensor | Iterable[str | int]) -> Tensor:
        """Give rows to those of ``ids`` (values, or hashes as int64 ``[n]``) that have none; return the rows given.

        Freed rows are given first. What an optimizer keeps of them is the caller's to start anew, see
        `viridian_model.growth`.
        """
        hashes = ids if isinstance(ids, Tensor) else hash_ids(ids)
        added, rows = self._index.add(hashes.cpu().numpy())
        if len(added):
            self._reserve(self.rows)
            self._hashes[rows] = added
            noise = torch.from_numpy(_noise(added, self.dim, salt=xxhash.xxh3_64_intdigest(self.name.encode())))
            self.weight[torch.from_numpy(rows)] = self.weight[0] + noise.to(self.weight.device)
            self._note(rows)
        return torch.from_numpy(rows)

    @torch.no_grad()
    def evict(self, rows: Tensor) -> Tensor:
        """Take ``rows`` (int64 ``[n]``, distinct) from their ids, which are unknown from now on; return the hashes.

        Raises:
            IndexError: a row that belongs to no id.
        """
        wanted = rows.cpu().numpy()
        if not np.isin(wanted, self.id_rows.numpy()).all():
            raise IndexError(f"table {self.name}: only rows that belong to an id can be evicted")
        evicted = torch.from_numpy(self._hashes[wanted])
        self._index.remove(wanted)
        self._hashes[wanted] = FREED
        self.weight[rows] = 0.0
        self._note(wanted)
        return evicted

    @torch.no_grad()
    def refresh_oov(self) -> None:
        """Set row 0 to the mean of the rows of all ids, unless it was learned; summed in float64 in a fixed order."""
        known = self.weight[self.id_rows].detach().cpu().numpy()
        if len(known) and not self.oov_is_learned:
            self.weight[0] = torch.from_numpy(known.mean(axis=0, dtype=np.float64).astype(np.float32))
            self._note(np.zeros(1, dtype=np.int64))

    def touch(self, rows: Tensor) -> None:
        """Note that ``rows`` (int64 ``[n]``) were written in place, as an optimizer does."""
        self._note(rows.cpu().numpy())

    @property
    def cursor(self) -> int:
        """The present point in the history of the table in this process, for `changed_since`."""
        return self._cursor

    def changed_since(self, cursor: int) -> Changed:
        """Return what was grown, touched, evicted, refreshed or loaded after ``cursor``; consumers drain apart."""
        rows = np.flatnonzero(self._changed_at[: self.rows] > cursor)
        freed = self._hashes[rows] == FREED
        return Changed(torch.from_numpy(rows[~freed]), torch.from_numpy(rows[freed]))

    def _note(self, rows: NDArray[np.int64]) -> None:
        self._cursor += 1
        self._changed_at[rows] = self._cursor

    def _reserve(self, rows: int) -> None:
        if rows <= self.capacity:
            return
        capacity = max(rows, 2 * self.capacity)
        # A new Parameter: autograd graphs that are still alive remember the old shape.
        self.weight = nn.Parameter(pad_rows(self.weight.detach(), capacity))
        self._hashes, self._changed_at = (
            np.concatenate([each, np.zeros(capacity - len(each), dtype=np.int64)])
            for each in (self._hashes, self._changed_at)
        )

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
        self._cursor += 1
        self._changed_at = np.full(len(hashes), self._cursor, dtype=np.int64)
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
