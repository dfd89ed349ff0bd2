"""What a training asks of the processes that it is shared between, and the case of one process alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol, override

from torch import Tensor, nn


class Group(Protocol):
    """The ranks of a training. Every rank calls the same methods in the same order.

    Each of them reads the whole window and keeps the same books; only forward, backward and predictions are
    divided. All methods but `part` and `drawing` may raise ``PeerLost``.
    """

    rank: int
    size: int

    def device(self, wanted: str) -> str:
        """Where this rank computes if ``spec.training.config.device`` is ``wanted``."""
        ...

    def part(self, count: int) -> slice:
        """The rows of this rank out of ``count`` rows of a batch: contiguous, in the order of ranks."""
        ...

    def drawing(self, count: int) -> AbstractContextManager[object]:
        """Within this context dropout draws for all ``count`` rows of a batch and keeps the part of this rank."""
        ...

    def add_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace the gradients, dense or sparse, by their sums over all ranks."""
        ...

    def joined(self, values: Tensor, count: int) -> Tensor:
        """One value per row of a batch ``[count]``, where each rank gives those of its part."""
        ...

    def any(self, flag: bool) -> bool:
        """Whether any rank says so."""
        ...

    def same(self, fingerprint: int) -> bool:
        """Whether all ranks give the same number (int64)."""
        ...

    def lead(self, action: Callable[[], object]) -> None:
        """Rank 0 does ``action``; the others wait until it is done."""
        ...

    def announce(self, prepare: Callable[[], str]) -> None:
        """Called by rank 0: prepare what the others begin with, and tell them its name."""
        ...

    def dismiss(self) -> None:
        """Called by rank 0 instead of `announce`: there is nothing to train."""
        ...

    def told(self) -> str | None:
        """Called by the others: the name of what they begin with, None if there is nothing to train."""
        ...


class Alone(Group):
    """One process: nothing to divide, nobody to wait for."""

    rank, size = 0, 1

    @override
    def device(self, wanted: str) -> str:
        """As it was asked for."""
        return wanted

    @override
    def part(self, count: int) -> slice:
        """All rows."""
        return slice(0, count)

    @override
    def drawing(self, count: int) -> AbstractContextManager[object]:
        """Dropout as the model does it."""
        return nullcontext()

    @override
    def add_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """They are the sums already."""

    @override
    def joined(self, values: Tensor, count: int) -> Tensor:
        """The values of all rows, as they are."""
        return values

    @override
    def any(self, flag: bool) -> bool:
        """What this process says."""
        return flag

    @override
    def same(self, fingerprint: int) -> bool:
        """There is nobody to differ from."""
        return True

    @override
    def lead(self, action: Callable[[], object]) -> None:
        """Do it."""
        action()

    @override
    def announce(self, prepare: Callable[[], str]) -> None:
        """Nobody has to be told."""

    @override
    def dismiss(self) -> None:
        """Nobody waits."""

    @override
    def told(self) -> str | None:
        """Nobody tells."""
        return None


ALONE = Alone()


def share(count: int, rank: int, size: int) -> slice:
    """The rows of ``rank`` out of ``count``; the parts of two ranks differ by one row at most."""
    return slice(count * rank // size, count * (rank + 1) // size)
