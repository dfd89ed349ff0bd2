"""Several processes of this machine that train together without torchrun: to repeat what as many did elsewhere."""

from __future__ import annotations

import multiprocessing
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from viridian_trainer.gang.group import Group
from viridian_trainer.gang.ranks import gathered


@contextmanager
def together(ranks: int, follow: Callable[[Group], object]) -> Iterator[Group]:
    """This process as rank 0 of ``ranks`` on the CPU; the others run ``follow``, which must be picklable.

    Raises
    ------
    PeerLost
        If another process does not come or ends too early; it has said why on standard error.
    """
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    meeting = {"WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
    context = multiprocessing.get_context("spawn")  # torch has threads, which a fork would lose
    others = [
        context.Process(target=_other, args=(_place(meeting, rank), follow), name=f"rank-{rank}", daemon=True)
        for rank in range(1, ranks)
    ]
    try:
        for other in others:
            other.start()
        with gathered(_place(meeting, 0), "cpu") as group:
            yield group
    finally:
        for other in others:
            if other.pid is not None:
                other.terminate()
                other.join()


def _place(meeting: Mapping[str, str], rank: int) -> dict[str, str]:
    return {**meeting, "RANK": str(rank), "LOCAL_RANK": str(rank)}


def _other(env: Mapping[str, str], follow: Callable[[Group], object]) -> None:
    with gathered(env, "cpu") as group:
        follow(group)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
