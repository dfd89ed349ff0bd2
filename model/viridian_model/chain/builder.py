"""Build deltas from the state of a trainer, against a shadow of what readers serve."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from viridian_model.chain.change import Change, Encoding, TableChange, encode
from viridian_model.chain.delta import Delta, Trained, seal
from viridian_model.chain.roots import Roots, advance, gone_of
from viridian_model.chain.state import FREED, ModelState, Table
from viridian_model.merkle import Positions


@dataclass(frozen=True)
class Selection:
    """Which of the touched rows are sent: the share with the largest change (0 to 1), and how their values are encoded.

    The others are carried over to the next delta. New and freed rows are always sent.
    """

    share: float = 1.0
    encoding: Encoding = "fp32"

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(f"the share of rows that are sent must be above 0 and at most 1, not {self.share}")


class DeltaBuilder:
    """Belongs to one thread. Keeps a copy of what readers serve (the *shadow*) and the rows that wait to be sent.

    `build` changes nothing that readers depend on: call `commit` when the delta is published, or `build` again, which
    then also holds what changed since.
    """

    def __init__(self, model: str, anchor: str, served: ModelState, selection: Selection | None = None) -> None:
        """``served`` is the state of the anchor with digest ``anchor``; the builder keeps it, give it a copy."""
        self.model, self.anchor = model, anchor
        self._shadow, self._roots = served, Roots.of(served)
        self._selection = selection or Selection()
        self._waiting: dict[str, Positions] = {}

    @property
    def root(self) -> str:
        """Root of what readers serve."""
        return self._roots.root

    @property
    def served(self) -> ModelState:
        """What readers serve; not to be changed."""
        return self._shadow

    def build(
        self, state: ModelState, touched: Mapping[str, Positions], trained: Trained, golden: bytes | None = None
    ) -> Built | None:
        """Return a delta from what is served to ``state``, or nothing if no row to send differs.

        Args:
            state: views of the trainer's arrays; only touched rows and dense tensors are read.
            touched: per table the positions that may have changed since the last `build` (more do no harm; new rows
                need not be named), as `ExpandableEmbedding.changed_since` gives them.
        """
        raise NotImplementedError

    def commit(self, built: Built) -> None:
        """Take a published delta into the shadow.

        Raises:
            ValueError: it was built from another state than the present shadow.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Built:
    """A delta that was not published yet."""

    delta: Delta
    served: Change
