"""Let the tables of a model grow with a batch, or lose rows, and take the optimizer along."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any, Protocol

from torch import Tensor, nn

from viridian_model.contract import RankingModel
from viridian_model.embedding import pad_rows


class Optimizer(Protocol):
    """What is taken along: the parameters and the state of an optimizer, as those of ``torch.optim`` have them."""

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Each with its list of ``params``."""
        ...

    @property
    def state(self) -> MutableMapping[Any, Any]:
        """By parameter."""
        ...


def grow_tables(
    model: RankingModel, ids: Mapping[str, Tensor], optimizer: Optimizer | None = None
) -> dict[str, Tensor]:
    """Give every unknown one of ``ids`` (int64 hashes ``[n]`` by table) a row; return the rows given, by table.

    Where a table had to be enlarged, its new parameter takes the place of the old one in ``optimizer``; state
    with a row per id starts with the initial value (Adagrad's ``initial_accumulator_value``, else 0), also where
    the row belonged to another id before.
    """
    grown = {}
    for name, table in model.embedding_tables().items():
        if name not in ids:
            continue
        before = table.weight
        grown[name] = table.grow(ids[name])
        if optimizer is not None and table.weight is not before:
            _replace(optimizer, before, table.weight)
        if optimizer is not None:
            restart_rows(optimizer, table.weight, grown[name])
    return grown


def restart_rows(optimizer: Optimizer, parameter: nn.Parameter, rows: Tensor) -> None:
    """Set what ``optimizer`` keeps of ``rows`` (int64 ``[n]``) of ``parameter`` to what it is for a new row."""
    if len(rows) == 0:
        return
    for group in _groups_with(optimizer, parameter):
        for value in optimizer.state.get(parameter, {}).values():
            if _is_per_row(value, parameter):
                value[rows.to(value.device)] = _initial(group)


def _replace(optimizer: Optimizer, old: nn.Parameter, new: nn.Parameter) -> None:
    for group in _groups_with(optimizer, old):
        group["params"] = [new if parameter is old else parameter for parameter in group["params"]]
        if old in optimizer.state:
            state = optimizer.state.pop(old)
            optimizer.state[new] = {
                key: pad_rows(value, len(new), _initial(group)) if _is_per_row(value, old) else value
                for key, value in state.items()
            }


def _groups_with(optimizer: Optimizer, parameter: nn.Parameter) -> Iterator[dict[str, Any]]:
    for group in optimizer.param_groups:
        if any(each is parameter for each in group["params"]):
            yield group


def _initial(group: Mapping[str, Any]) -> float:
    return float(group.get("initial_accumulator_value", 0.0))


def _is_per_row(value: Any, parameter: nn.Parameter) -> bool:
    return isinstance(value, Tensor) and value.dim() > 0 and value.shape[:1] == parameter.shape[:1]
