"""A two-tower model (Covington, Adams, Sargin, "Deep Neural Networks for YouTube Recommendations", RecSys 2016;
Yi et al., "Sampling-Bias-Corrected Neural Modeling", RecSys 2019): a user and an item vector, and their product.

The file is all there is to a plug-in. It must be importable in the training and the serving image, for instance
mounted into a directory on ``PYTHONPATH``, and ``spec.training.config.architecture`` names it::

    training: {config: {architecture: "two_tower:TwoTower", dim: 16, itemFields: [item]}}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from viridian_model.embedding import ExpandableEmbedding
from viridian_model.features import FeatureBatch
from viridian_model.schema import Schema, Signature


class TwoTower(nn.Module):
    """Fields named in ``itemFields`` make the item tower, all others the user tower."""

    def __init__(self, schema: Schema, item_fields: Sequence[str], dim: int, hidden: int) -> None:
        super().__init__()
        self.schema = schema
        self.item_fields = [name for name in schema.categorical if name in item_fields]
        self.user_fields = [name for name in schema.categorical if name not in item_fields]
        if not self.item_fields or not self.user_fields:
            raise ValueError(f"itemFields {list(item_fields)} must leave fields of data.schema to both towers")
        self.tables = nn.ModuleDict({f"field_{name}": ExpandableEmbedding(name, dim) for name in schema.categorical})
        self.user_tower = _tower(len(self.user_fields) * dim, hidden, dim)
        self.item_tower = _tower(len(self.item_fields) * dim, hidden, dim)
        self.item_bias = nn.Linear(dim, 1)
        self.scale = nn.Parameter(torch.tensor(4.0))

    @classmethod
    def from_config(cls, config: Mapping[str, Any], schema: Schema) -> Self:
        """Keys: ``dim`` (16), ``hidden`` (32), ``itemFields`` (the schema's item field)."""
        if unknown := sorted(set(config) - {"dim", "hidden", "itemFields"}):
            raise ValueError(f"unknown key {unknown[0]}; known are dim, hidden, itemFields")
        fields = config.get("itemFields", [schema.item])
        return cls(schema, fields, int(config.get("dim", 16)), int(config.get("hidden", 32)))

    def embedding_tables(self) -> Mapping[str, ExpandableEmbedding]:
        """One table per field; each grows with the ids of the field of its name."""
        return {name: cast("ExpandableEmbedding", self.tables[f"field_{name}"]) for name in self.schema.categorical}

    def signature(self) -> Signature:
        """Inputs and outputs follow from the schema."""
        return self.schema.signature()

    def forward(self, batch: FeatureBatch) -> Tensor:
        """Logits ``[n]``: scaled cosine of the two vectors plus the bias of the item."""
        user = functional.normalize(self.user_tower(self._looked_up(batch, self.user_fields)), dim=1)
        item = self.item_tower(self._looked_up(batch, self.item_fields))
        product = (user * functional.normalize(item, dim=1)).sum(1)
        bias: Tensor = self.item_bias(item).squeeze(1)
        return self.scale * product + bias

    def _looked_up(self, batch: FeatureBatch, fields: Sequence[str]) -> Tensor:
        """Vectors of ``fields`` beside one another, ``[n, fields * dim]``."""
        tables = self.embedding_tables()
        return torch.cat([tables[name](batch.categorical[name]) for name in fields], 1)


def _tower(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, outputs))
