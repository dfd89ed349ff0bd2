"""The state of every generator that a model may draw from: torch (CPU and CUDA), numpy and Python."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

_PREFIX = "random/"


def seed_all(seed: int) -> None:
    """Start all generators from ``seed``."""
    torch.manual_seed(seed)  # CUDA as well
    np.random.seed(seed % 2**32)
    random.seed(seed)


def capture() -> dict[str, Tensor]:
    """The states as tensors for a checkpoint."""
    _, keys, position, has_gauss, gauss = np.random.get_state()
    version, words, next_gauss = random.getstate()
    if version != 3:
        raise RuntimeError(f"the state of Python's generator has version {version}, not 3")
    state = {
        "torch": torch.get_rng_state(),
        "numpy": torch.from_numpy(np.asarray(keys).astype(np.int64)),
        "numpy-rest": torch.tensor([position, has_gauss, gauss], dtype=torch.float64),
        "python": torch.tensor(words, dtype=torch.int64),
        "python-gauss": torch.tensor([] if next_gauss is None else [next_gauss], dtype=torch.float64),
    }
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        state |= {f"cuda-{device}": value for device, value in enumerate(torch.cuda.get_rng_state_all())}
    return {_PREFIX + name: value for name, value in state.items()}


def restore(tensors: Mapping[str, Tensor]) -> None:
    """Go on from what `capture` gave."""
    state = {name.removeprefix(_PREFIX): value for name, value in tensors.items() if name.startswith(_PREFIX)}
    torch.set_rng_state(state["torch"])
    position, has_gauss, gauss = state["numpy-rest"].tolist()
    numpy_state: Any = ("MT19937", state["numpy"].numpy().astype(np.uint32), int(position), int(has_gauss), gauss)
    np.random.set_state(numpy_state)
    next_gauss = state["python-gauss"].tolist()
    random.setstate((3, tuple(state["python"].tolist()), next_gauss[0] if next_gauss else None))
    for name, value in state.items():
        if name.startswith("cuda-"):
            torch.cuda.set_rng_state(value, int(name.removeprefix("cuda-")))
    if "cuda-0" in state:  # rank 0 saves for all ranks, and each computes on a device of its own, the current one
        torch.cuda.set_rng_state(state["cuda-0"])
