"""Dropout whose mask is that of the whole batch, whichever rows a rank computes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode


class WholeBatchDropout(TorchFunctionMode):
    """While it is active, dropout over the rows of ``part`` draws for ``count`` rows and uses its own.

    All ranks thereby draw what one process would, equally often: their generators stay in the same state, so
    that one checkpoint serves them all. Tensors whose first dimension is not the part's rows are left alone.
    """

    def __init__(self, count: int, part: slice) -> None:
        super().__init__()
        self._count, self._part = count, part

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Every function of torch comes through here."""
        if func is functional.dropout:
            return self._dropout(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))

    def _dropout(self, values: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        if not training or p == 0 or len(values) != self._part.stop - self._part.start:
            return functional.dropout(values, p, training, inplace)
        kept = functional.dropout(values.new_ones(self._count, *values.shape[1:]), p)[self._part]
        return values.mul_(kept) if inplace else values * kept
