"""Adagrad whose state grows with the embedding tables and travels in the bundle.

Algorithm: Duchi, Hazan, Singer, "Adaptive Subgradient Methods", JMLR 12 (2011), by ``torch.optim.adagrad``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adagrad import adagrad

from viridian_model.contract import RankingModel
from viridian_model.embedding import ExpandableEmbedding, pad_rows
from viridian_model.growth import grow_tables, restart_rows
from viridian_trainer.errors import BadData

_PREFIX = "adagrad/"


class GrowingAdagrad:
    """One optimizer over all parameters; rows of new ids start with the initial accumulator."""

    def __init__(self, model: RankingModel, learning_rate: float, initial_accumulator: float) -> None:
        for table in model.embedding_tables().values():
            table.sparse = True  # only rows of the batch are touched, O(batch) instead of O(table)
        self._model = model
        self._initial = initial_accumulator
        self._adagrad = _Adagrad(model.parameters(), learning_rate, initial_accumulator)

    def grow(self, ids: Mapping[str, Tensor]) -> None:
        """Give ``ids`` (int64 hashes ``[n]`` by table) rows in the tables and in the state."""
        grow_tables(self._model, ids, self._adagrad)

    def restart(self, table: ExpandableEmbedding, rows: Tensor) -> None:
        """Forget what was summed up for ``rows`` of ``table``."""
        restart_rows(self._adagrad, table.weight, rows)

    def step(self) -> None:
        """Apply the gradients and clear them."""
        for table in self._model.embedding_tables().values():
            if table.weight.grad is not None:
                table.touch(_rows_in(table.weight.grad))
        self._adagrad.step()
        for parameter in self._model.parameters():
            parameter.grad = None

    def state(self) -> dict[str, Tensor]:
        """Sums of squared gradients by parameter, shaped like it (tables: rows in use only), and step
        counts.
        """
        rows, tensors = self._rows(), {}
        for name, parameter in self._model.named_parameters():
            state = self._adagrad.state[parameter]
            total = state["sum"][: rows[id(parameter)]] if id(parameter) in rows else state["sum"]
            tensors[f"{_PREFIX}{name}/sum"] = total.detach().clone()
            tensors[f"{_PREFIX}{name}/step"] = state["step"].detach().clone()
        return tensors

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over the state of a parent whose weights the model holds already.

        Raises
        ------
        BadData
            If a tensor is missing or has another shape than its parameter.
        """
        rows = self._rows()
        for name, parameter in self._model.named_parameters():
            total, step = (tensors.get(f"{_PREFIX}{name}/{part}") for part in ("sum", "step"))
            shape = (rows[id(parameter)], *parameter.shape[1:]) if id(parameter) in rows else tuple(parameter.shape)
            if total is None or step is None or tuple(total.shape) != shape:
                raise BadData(f"the optimizer state of the parent does not fit parameter {name}; run a Full update")
            total = total.to(parameter.device, parameter.dtype, copy=True)
            padded = pad_rows(total, len(parameter), self._initial) if id(parameter) in rows else total
            self._adagrad.state[parameter] = {"sum": padded, "step": step.clone()}

    def _rows(self) -> dict[int, int]:
        """Rows in use by identity of the parameter of a table."""
        return {id(table.weight): table.rows for table in self._model.embedding_tables().values()}


class _Adagrad:
    """State and step of ``torch.optim.Adagrad``; its base class imports torch's compiler, as slow to load as torch."""

    def __init__(self, parameters: Iterable[nn.Parameter], learning_rate: float, initial: float) -> None:
        self._rate = learning_rate
        self.param_groups: list[dict[str, Any]] = [
            {"params": list(parameters), "initial_accumulator_value": initial},
        ]
        self.state: dict[Tensor, dict[str, Tensor]] = {
            parameter: {"step": torch.tensor(0.0), "sum": torch.full_like(parameter, initial)}
            for parameter in self.param_groups[0]["params"]
        }

    @torch.no_grad()
    def step(self) -> None:
        """Apply the gradients of those parameters that have one."""
        parameters = [parameter for parameter in self.param_groups[0]["params"] if parameter.grad is not None]
        states = [self.state[parameter] for parameter in parameters]
        adagrad(
            parameters,
            [parameter.grad for parameter in parameters],
            [state["sum"] for state in states],
            [state["step"] for state in states],
            has_sparse_grad=any(parameter.grad.is_sparse for parameter in parameters),
            lr=self._rate,
            weight_decay=0.0,
            lr_decay=0.0,
            eps=1e-10,
            maximize=False,
        )


def _rows_in(gradient: Tensor) -> Tensor:
    """The rows that a gradient changes, int64."""
    if gradient.is_sparse:
        return gradient._indices()[0]
    return gradient.flatten(1).any(1).nonzero()[:, 0]
