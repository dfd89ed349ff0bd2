"""Adagrad whose state grows with the embedding tables and travels in the bundle.

Algorithm: Duchi, Hazan, Singer, "Adaptive Subgradient Methods", JMLR 12 (2011), by ``torch.optim.Adagrad``.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from viridian_model.contract import RankingModel
from viridian_model.embedding import pad_rows

from viridian_trainer.errors import BadData

_PREFIX = "adagrad/"


class GrowingAdagrad:
    """One optimizer over all parameters; rows of new ids start with the initial accumulator."""

    def __init__(self, model: RankingModel, learning_rate: float, initial_accumulator: float) -> None:
        for table in model.embedding_tables().values():
            table.sparse = True  # only rows of the batch are touched, O(batch) instead of O(table)
        self._initial = initial_accumulator
        self._tables = {id(table.weight): table for table in model.embedding_tables().values()}
        self._named = dict(model.named_parameters())
        self._adagrad = torch.optim.Adagrad(
            self._named.values(), lr=learning_rate, initial_accumulator_value=initial_accumulator
        )

    def step(self) -> None:
        """Apply the gradients and clear them."""
        self._adagrad.step()
        self._adagrad.zero_grad(set_to_none=True)

    def grow(self) -> None:
        """Bring the state to the capacity of the tables; call it after tables grew and before ``step``."""
        for parameter in self._named.values():
            if id(parameter) in self._tables:
                state = self._adagrad.state[parameter]
                state["sum"] = pad_rows(state["sum"], len(parameter), self._initial)

    def state(self) -> dict[str, Tensor]:
        """Sums of squared gradients by parameter, shaped like it (tables: rows in use only), and step
        counts.
        """
        tensors = {}
        for name, parameter in self._named.items():
            state = self._adagrad.state[parameter]
            table = self._tables.get(id(parameter))
            total = state["sum"] if table is None else state["sum"][: table.rows]
            tensors[f"{_PREFIX}{name}/sum"] = total.detach().clone()
            tensors[f"{_PREFIX}{name}/step"] = state["step"].detach().clone()
        return tensors

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over the state of a parent or checkpoint whose weights the model holds already.

        Raises
        ------
        BadData
            If a tensor is missing or has another shape than its parameter.
        """
        for name, parameter in self._named.items():
            total, step = (tensors.get(f"{_PREFIX}{name}/{part}") for part in ("sum", "step"))
            rows = self._tables[id(parameter)].rows if id(parameter) in self._tables else None
            shape = parameter.shape if rows is None else (rows, *parameter.shape[1:])
            if total is None or step is None or tuple(total.shape) != tuple(shape):
                raise BadData(f"the optimizer state of the parent does not fit parameter {name}; run a Full update")
            state = self._adagrad.state[parameter]
            total = total.to(parameter.device, parameter.dtype, copy=True)
            state["sum"] = total if rows is None else pad_rows(total, len(parameter), self._initial)
            state["step"] = step.clone()
