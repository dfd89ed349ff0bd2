"""The served state of a model as arrays that share memory with its tensors."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from viridian_model.chain.state import ModelState, Table
from viridian_model.contract import RankingModel

_INTEGERS = {1: torch.uint8, 2: torch.int16}


def state_of(model: RankingModel) -> ModelState:
    """Return everything that is saved, for `DeltaBuilder.build` and `Roots.of`; copy it to keep it.

    Arrays share memory with tensors on the CPU, ids are copies. Types that numpy lacks (bfloat16, float8) stand as
    integers of the same size.
    """
    tables = model.embedding_tables()
    inside = {id(table.weight) for table in tables.values()}
    saved = model.state_dict()
    return ModelState(
        {name: Table(table.ids.numpy(), _array(table.weight[: table.rows])) for name, table in tables.items()},
        {
            name: _array(tensor)
            for name, tensor in (*model.named_parameters(), *model.named_buffers())
            if name in saved and id(tensor) not in inside
        },
    )


def _array(tensor: Tensor) -> NDArray[Any]:
    plain = tensor.detach().cpu().contiguous()
    try:
        return plain.numpy()
    except TypeError:
        return plain.view(_INTEGERS[plain.element_size()]).numpy()
