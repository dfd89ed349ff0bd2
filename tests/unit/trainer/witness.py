"""A model that remembers in its optimizer state how often it was trained on each event."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from viridian_model.deepfm import DeepFM
from viridian_model.embedding import ExpandableEmbedding
from viridian_model.features import FeatureBatch
from viridian_model.schema import Schema, Signature


class _Counted(torch.autograd.Function):
    """Zero, with a gradient of one for every use: Adagrad's sum of squares becomes the number of uses."""

    @staticmethod
    def forward(ctx: Any, vectors: Tensor) -> Tensor:
        return torch.zeros_like(vectors)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return torch.ones_like(gradient)


class Witness(nn.Module):
    """DeepFM over all fields but ``id``, and a table over ``id`` that changes no answer.

    Uses in two steps leave a sum of 2, two uses in one step a sum of 4: only 1 is "exactly once".
    """

    def __init__(self, config: Mapping[str, Any], schema: Schema) -> None:
        super().__init__()
        self.schema = schema
        rest = tuple(name for name in schema.categorical if name != "id")
        self.inner = DeepFM.from_config(config, schema.model_copy(update={"categorical": rest}))
        self.seen = ExpandableEmbedding("id", 1)

    @classmethod
    def from_config(cls, config: Mapping[str, Any], schema: Schema) -> Self:
        return cls(config, schema)

    def embedding_tables(self) -> Mapping[str, ExpandableEmbedding]:
        return {**self.inner.embedding_tables(), "id": self.seen}

    def signature(self) -> Signature:
        return self.schema.signature()

    def forward(self, batch: FeatureBatch) -> Tensor:
        logits: Tensor = self.inner(batch)
        return logits + _Counted.apply(self.seen(batch.categorical["id"])).squeeze(1)  # type: ignore[no-untyped-call]


def uses(weights: Mapping[str, Tensor], optimizer: Mapping[str, Tensor]) -> dict[int, float]:
    """How often each event, by the hash of its id, was trained on."""
    sums = optimizer["adagrad/seen.weight/sum"][:, 0].tolist()
    return dict(zip(weights["seen.ids"].tolist()[1:], sums[1:], strict=True))
