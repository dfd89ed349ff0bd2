"""Let the tables of a model grow with a batch and take the optimizer along."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from viridian_model.contract import RankingModel
from viridian_model.embedding import Growth, pad_rows
from viridian_model.features import FeatureBatch


def grow_tables(model: RankingModel, batch: FeatureBatch, optimizer: Optimizer | None = None) -> dict[str, Growth]:
    """Give every unknown id of ``batch`` a row in the table of the same name as its field.

    Where a table had to be enlarged, its new parameter takes the place of the old one in ``optimizer``; state
    with a row per id is padded with the initial value (Adagrad's ``initial_accumulator_value``, else 0).
    """
    grown = {}
    for name, table in model.embedding_tables().items():
        if name not in batch.categorical:
            continue
        before = table.weight
        grown[name] = table.grow(batch.categorical[name])
        if optimizer is not None and table.weight is not before:
            _replace(optimizer, before, table.weight)
    return grown


def _replace(optimizer: Optimizer, old: nn.Parameter, new: nn.Parameter) -> None:
    for group in optimizer.param_groups:
        group["params"] = [new if parameter is old else parameter for parameter in group["params"]]
        if any(parameter is new for parameter in group["params"]) and old in optimizer.state:
            fill = float(group.get("initial_accumulator_value", 0.0))
            state = optimizer.state.pop(old)
            optimizer.state[new] = {key: _padded(value, old, new, fill) for key, value in state.items()}


def _padded(value: Any, old: nn.Parameter, new: nn.Parameter, fill: float) -> Any:
    if isinstance(value, Tensor) and value.shape[:1] == old.shape[:1] and value.dim() > 0:
        return pad_rows(value, len(new), fill)
    return value
