"""Parts of the held-out events that must not get worse either."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from viridian_model.schema import Schema
from viridian_trainer.errors import BadConfig
from viridian_trainer.gate.scoring import Holdout, Scores
from viridian_trainer.spec import Slice

Mask = NDArray[np.bool_]

#: Users with the most events in the holdout, as a fraction of all users.
HEAVY_FRACTION = 0.1


def fields_of(slices: list[Slice], schema: Schema) -> list[str]:
    """Names of the fields that the slices need.

    Raises
    ------
    BadConfig
        If a slice names a field that events do not have.
    """
    named = {part.name: part.field for part in slices if part.kind == "Field"}
    for name, field in named.items():
        if field not in schema.categorical and field not in schema.numeric:
            raise BadConfig(f"spec.gate.slices: slice {name} names field {field}, which spec.data.schema lacks")
    return sorted({field for field in named.values() if field is not None})


def masks(slices: list[Slice], holdout: Holdout, known_by: Scores, schema: Schema) -> Mapping[str, Mask]:
    """Which events belong to which slice.

    ``known_by`` are the answers of the model whose users and items count as known: the champion, or a first
    candidate itself.

    Raises
    ------
    BadConfig
        If new users or items are asked for and the model has no table of them.
    """
    return {part.name: _mask(part, holdout, known_by, schema) for part in slices}


def heavy_users(users: NDArray[np.int64]) -> Mask:
    """Events of the tenth of users with the most events; ties are broken by the hash of the user."""
    unique, inverse, counts = np.unique(users, return_inverse=True, return_counts=True)
    chosen = np.zeros(len(unique), dtype=np.bool_)
    chosen[np.argsort(-counts, kind="stable")[: max(1, round(HEAVY_FRACTION * len(unique)))]] = True
    mask: Mask = chosen[inverse]
    return mask


def _mask(part: Slice, holdout: Holdout, known_by: Scores, schema: Schema) -> Mask:
    if part.kind == "Field":
        return np.isin(holdout.fields[str(part.field)], part.values)
    if part.kind == "HeavyUsers":
        return heavy_users(holdout.users)
    table = schema.user if part.kind in ("NewUsers", "KnownUsers") else schema.item
    if table not in known_by.unknown:
        raise BadConfig(f"spec.gate.slices: slice {part.name} needs a model with an embedding table {table}")
    new = known_by.unknown[table]
    return new if part.kind in ("NewUsers", "NewItems") else ~new
