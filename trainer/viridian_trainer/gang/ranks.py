"""A training shared between processes, over ``torch.distributed``: gloo on the CPU, NCCL on GPUs."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta

import torch
from torch import Tensor, distributed, nn
from torch.distributed import TCPStore  # type: ignore[attr-defined]
from torch.distributed.distributed_c10d import PrefixStore, Store

from viridian_trainer.errors import BadConfig, PeerLost
from viridian_trainer.gang import gradients
from viridian_trainer.gang.dropout import WholeBatchDropout
from viridian_trainer.gang.group import ALONE, Group, share

#: How long ranks wait for each other within a step. The death of a process is seen at once, since its connections
#: close; this bounds the wait for one that hangs, or that went away with its machine.
PATIENCE = timedelta(minutes=5)
_LOOK_SECONDS = 0.05


@contextmanager
def gathered(env: Mapping[str, str], device: str) -> Iterator[Group]:
    """The gang that torchrun started this process in; without ``RANK`` in the environment, this process alone.

    Raises
    ------
    PeerLost
        If the others do not come.
    """
    if "RANK" not in env:
        yield ALONE
        return
    # Errors and timeouts of NCCL are raised here, instead of aborting the process from another thread.
    os.environ.setdefault("TORCH_NCCL_BLOCKING_WAIT", "1")
    with _peers(), _ended_by(signal.SIGTERM):
        store, rank, size = _store(env)
        distributed.init_process_group(
            "gloo" if device == "cpu" else "cpu:gloo,cuda:nccl",
            store=PrefixStore("collectives", store),
            rank=rank,
            world_size=size,
            timeout=PATIENCE,
        )
    yield Ranks(rank, size, int(env.get("LOCAL_RANK", "0")), PrefixStore("words", store))
    # Not after a failure: the others see connections close and report that, so the cause must be reported before.
    distributed.destroy_process_group()


class Ranks:
    """One rank of ``size``; see `Group`. ``words`` is a store in which rank 0 says how far it is.

    What rank 0 does alone may take longer than any step, so the others wait for its word, however long it
    takes: the store goes away with the machine of rank 0.
    """

    def __init__(self, rank: int, size: int, local_rank: int, words: Store) -> None:
        self.rank, self.size = rank, size
        self._local_rank, self._words, self._said = local_rank, words, 0

    def device(self, wanted: str) -> str:
        """One GPU per process of a node.

        Raises
        ------
        BadConfig
            If a certain GPU was asked for, or there are too few.
        """
        kind, _, index = wanted.partition(":")
        if kind != "cuda":
            return wanted
        if index:
            raise BadConfig(
                f"spec.training.config.device {wanted!r} names one GPU for all processes of a node; write cuda"
            )
        found = torch.cuda.device_count()
        if found <= self._local_rank:
            raise BadConfig(
                f"spec.training.processesPerNode asks for more than the {found} GPUs of a pod; "
                "every process needs one of its own"
            )
        torch.cuda.set_device(self._local_rank)
        return f"cuda:{self._local_rank}"

    def part(self, count: int) -> slice:
        """The rows of this rank."""
        return share(count, self.rank, self.size)

    def drawing(self, count: int) -> WholeBatchDropout:
        """Dropout that draws for the whole batch."""
        return WholeBatchDropout(count, self.part(count))

    def add_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Sum gradients over all ranks."""
        gradients.add_gradients(parameters, self.size, self._sum, self._gather)

    def joined(self, values: Tensor, count: int) -> Tensor:
        """Values of all rows of a batch."""
        parts = [share(count, rank, self.size) for rank in range(self.size)]
        return torch.cat(self._gather(values, [part.stop - part.start for part in parts]))

    def any(self, flag: bool) -> bool:
        """Whether any rank says so."""
        found = torch.tensor([flag], dtype=torch.int64)
        self._sum(found)
        return bool(found)

    def same(self, fingerprint: int) -> bool:
        """Whether all ranks give the same number."""
        found = self._gather(torch.tensor([fingerprint]), [1] * self.size)
        return all(torch.equal(found[0], other) for other in found)

    def lead(self, action: Callable[[], object]) -> None:
        """Rank 0 does it, the others wait."""
        self._said += 1
        key = f"done/{self._said}"
        if self.rank == 0:
            action()
            self._say(key, "")
        else:
            self._hear(key)

    def announce(self, prepare: Callable[[], str]) -> None:
        """Tell the others what to begin with."""
        self._say("begin", prepare())

    def dismiss(self) -> None:
        """Tell the others that there is nothing to do."""
        self._say("begin", "")

    def told(self) -> str | None:
        """What to begin with."""
        return self._hear("begin") or None

    def _say(self, key: str, word: str) -> None:
        with _peers():
            self._words.set(key, word)
        self._all_heard()

    def _hear(self, key: str) -> str:
        with _peers():
            while not self._words.check([key]):  # a wait in the store could not be interrupted by a signal
                time.sleep(_LOOK_SECONDS)
            word = self._words.get(key).decode()
        self._all_heard()
        return word

    def _all_heard(self) -> None:
        """Nobody leaves before: rank 0 would take the word along, and connections that are still being made."""
        self.any(False)

    def _sum(self, values: Tensor) -> None:
        with _peers():
            distributed.all_reduce(values)

    def _gather(self, values: Tensor, lengths: Sequence[int]) -> list[Tensor]:
        """Padded to the longest, since collectives take equal shapes."""
        longest = max(lengths)
        if longest == 0:
            return [values] * len(lengths)
        padded = values.new_zeros(longest)
        padded[: len(values)] = values
        found = [values.new_empty(longest) for _ in lengths]
        with _peers():
            distributed.all_gather(found, padded)
        return [part[:length] for part, length in zip(found, lengths, strict=True)]


@contextmanager
def _ended_by(number: signal.Signals) -> Iterator[None]:
    """Within this block the signal ends the process: nothing that runs Python can answer it, and nothing is lost."""
    before = signal.signal(number, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(number, before)


def _store(env: Mapping[str, str]) -> tuple[Store, int, int]:
    """The store of torchrun, or of rank 0 without it, with rank and number of ranks.

    As torch's rendezvous ``env://``, which insists on libuv where torchrun keeps the store: Debian's torch has none.
    """
    rank, size = int(env["RANK"]), int(env["WORLD_SIZE"])
    keeps = rank == 0 and env.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    address = (env["MASTER_ADDR"], int(env["MASTER_PORT"]))
    return TCPStore(*address, size, keeps, PATIENCE, use_libuv=False), rank, size


@contextmanager
def _peers() -> Iterator[None]:
    """Whatever torch raises where ranks meet means that one of them is not there."""
    try:
        yield
    except RuntimeError as error:
        raise PeerLost(f"another process of the training is gone: {first_sentence(error)}") from error


def first_sentence(error: RuntimeError) -> str:
    """What torch says first; stack traces and advice follow."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0].partition(". ")[0]
