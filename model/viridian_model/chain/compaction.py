"""Merge deltas that follow on each other into one."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from viridian_model.chain.change import FREED, Change, TableChange, encode
from viridian_model.chain.delta import Delta, Trained, seal
from viridian_model.errors import BadDelta


def merge(deltas: Sequence[Delta]) -> Delta:
    """Return one delta that leads from the parent of the first to the root of the last, bit for bit.

    The last write of each row and tensor wins. The merged payload holds served values, so its encoding is ``fp32``.

    Raises:
        BadDelta: they do not follow on each other.
    """
    first, last = deltas[0].manifest, deltas[-1].manifest
    for before, after in pairwise(deltas):
        if (after.manifest.anchor, after.manifest.parent_root) != (before.manifest.anchor, before.manifest.root):
            raise BadDelta(f"{after.digest} does not follow on {before.digest}")
    payload, change = encode(_last_writes([delta.change for delta in deltas]), "fp32")
    trained = Trained(
        trained_to=last.trained_to,
        event_time=last.event_time,
        events=sum(delta.manifest.events for delta in deltas),
    )
    return seal(
        change,
        payload,
        model=last.model,
        anchor=last.anchor,
        parent_root=first.parent_root,
        root=last.root,
        trained=trained,
        golden=deltas[-1].golden,
    )


def _last_writes(changes: Sequence[Change]) -> Change:
    names = sorted({name for change in changes for name in change.tables})
    tables = {name: _last_rows([change.tables[name] for change in changes if name in change.tables]) for name in names}
    tensors: dict[str, NDArray[Any]] = {}
    for change in changes:
        tensors |= change.tensors
    return Change(tables, tensors)


def _last_rows(changes: Sequence[TableChange]) -> TableChange:
    written = [change.written for change in changes]
    positions, values, ids = (np.concatenate(parts) for parts in zip(*written, strict=True))
    last = _last_of_each(positions)
    freed = ids[last] == FREED
    kept = last[~freed]
    return TableChange(changes[-1].rows, positions[kept], ids[kept], values[kept], positions[last[freed]])


def _last_of_each(positions: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the index of the last occurrence of each position, in the order of the positions."""
    _, backwards = np.unique(positions[::-1], return_index=True)
    return len(positions) - 1 - backwards
