"""How many processes train together, as the operator tells torchrun."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from viridian_trainer.errors import BadUsage

NODES, PROCESSES = "PET_NNODES", "PET_NPROC_PER_NODE"


@dataclass(frozen=True)
class Layout:
    """Pods, and processes in each of them."""

    nodes: int
    processes: int

    @property
    def ranks(self) -> int:
        """Processes in all."""
        return self.nodes * self.processes


def layout(env: Mapping[str, str]) -> Layout:
    """What ``PET_NNODES`` and ``PET_NPROC_PER_NODE`` say.

    Raises
    ------
    BadUsage
        If one is not a number from 1: a gang of changing size (``2:4``) would have no equal in a second attempt.
    """
    return Layout(_number(env, NODES), _number(env, PROCESSES))


def _number(env: Mapping[str, str], name: str) -> int:
    text = env.get(name) or "1"
    if not text.isdecimal() or int(text) < 1:
        raise BadUsage(f"environment variable {name} is {text!r}; write a number from 1")
    return int(text)
