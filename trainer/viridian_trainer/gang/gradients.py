"""Sums of gradients over ranks, dense ones in one buffer, sparse ones row by row.

``DistributedDataParallel`` is no help here: its buckets are laid out once for parameters that growing tables
replace, and it reduces sparse gradients one table at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

#: Sums a tensor over all ranks, in place.
Sum = Callable[[Tensor], None]
#: The tensors ``[n_r]`` of all ranks in their order, given this rank's own and how long each is.
Gather = Callable[[Tensor, Sequence[int]], list[Tensor]]

_NONE, _DENSE = -2, -1


def add_gradients(parameters: Iterable[nn.Parameter], size: int, total: Sum, gather: Gather) -> None:
    """Replace the gradients of ``parameters`` by their sums over all ``size`` ranks, the same bits on each.

    A parameter without a gradient on any rank keeps none, so that optimizers leave it alone.
    """
    chosen = [parameter for parameter in parameters if parameter.requires_grad]
    for parameter in chosen:
        if parameter.grad is not None and parameter.grad.is_sparse:
            parameter.grad = parameter.grad.coalesce()
    kinds = torch.tensor([_kind(parameter) for parameter in chosen])
    of_ranks = torch.stack(gather(kinds, [len(chosen)] * size))
    largest = of_ranks.amax(0).tolist()
    _add_dense([p for p, kind in zip(chosen, largest, strict=True) if kind == _DENSE], total)
    sparse = [number for number, kind in enumerate(largest) if kind >= 0]
    _add_sparse([chosen[n] for n in sparse], of_ranks[:, sparse].clamp(min=0), gather)


def _kind(parameter: nn.Parameter) -> int:
    """Nothing, dense, or the number of rows of a sparse gradient."""
    if parameter.grad is None:
        return _NONE
    return len(parameter.grad.values()) if parameter.grad.is_sparse else _DENSE


def _add_dense(parameters: list[nn.Parameter], total: Sum) -> None:
    if not parameters:
        return
    grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    flat = torch.cat([grad.flatten() for grad in grads])
    total(flat)
    for parameter, part in zip(parameters, torch.split(flat, [p.numel() for p in parameters]), strict=True):
        parameter.grad = part.view_as(parameter).to(parameter.dtype)


def _add_sparse(parameters: list[nn.Parameter], rows: Tensor, gather: Gather) -> None:
    """``rows`` ``[ranks, tables]`` says how many rows each rank touched; sums of the same row are left to the
    optimizer, which adds them in this order.
    """
    if not parameters:
        return
    widths = torch.tensor([p[0].numel() for p in parameters])
    grads = [_touched(p) for p in parameters]
    indices = gather(torch.cat([index for index, _ in grads]), rows.sum(1).tolist())
    values = gather(torch.cat([value.flatten() for _, value in grads]), (rows * widths).sum(1).tolist())
    index_parts = [torch.split(part, counts.tolist()) for part, counts in zip(indices, rows, strict=True)]
    value_parts = [torch.split(part, (counts * widths).tolist()) for part, counts in zip(values, rows, strict=True)]
    for number, parameter in enumerate(parameters):
        index = torch.cat([parts[number] for parts in index_parts])
        value = torch.cat([parts[number] for parts in value_parts]).view(-1, *parameter.shape[1:])
        parameter.grad = torch.sparse_coo_tensor(index[None], value, parameter.shape)


def _touched(parameter: nn.Parameter) -> tuple[Tensor, Tensor]:
    """Indices ``[n]`` and values ``[n, …]`` of a coalesced gradient."""
    if parameter.grad is None:
        empty = parameter.detach()[:0]
        return torch.zeros(0, dtype=torch.int64, device=parameter.device), empty
    return parameter.grad.indices()[0], parameter.grad.values()
