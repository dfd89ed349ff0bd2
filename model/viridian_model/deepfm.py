"""DeepFM (Guo et al., IJCAI 2017) over expandable tables: first order + pairwise interactions + MLP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, cast

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from viridian_model.embedding import ExpandableEmbedding
from viridian_model.features import FeatureBatch
from viridian_model.schema import Schema, Signature


class DeepFMConfig(BaseModel):
    """``spec.training.config`` as far as the architecture reads it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dim: int = Field(default=16, ge=1, le=1024)
    hidden: tuple[int, ...] = (64, 32)
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    sparse: bool = False


class DeepFM(nn.Module):
    """One table ``[rows, 1 + dim]`` per categorical field: the first-order weight, then the vector.

    A numeric field is one learned row of the same width, scaled by ``sign(x) · log(1 + |x|)``.
    """

    numeric_rows: nn.Parameter
    bias: nn.Parameter

    def __init__(self, config: DeepFMConfig, schema: Schema) -> None:
        super().__init__()
        self.config, self.schema = config, schema
        width = 1 + config.dim
        self.tables = nn.ModuleDict(
            {_key(name): ExpandableEmbedding(name, width, sparse=config.sparse) for name in schema.categorical}
        )
        self.numeric_rows = nn.Parameter(torch.randn(len(schema.numeric), width) * 0.01)
        self.bias = nn.Parameter(torch.zeros(()))
        self.mlp = _mlp((len(schema.categorical) + len(schema.numeric)) * config.dim, config)

    @classmethod
    def from_config(cls, config: Mapping[str, Any], schema: Schema) -> Self:
        """Build an untrained model from ``dim``, ``hidden``, ``dropout`` and ``sparse``; see `DeepFMConfig`.

        Raises:
            ValueError: another key, or a value out of range.
        """
        return cls(DeepFMConfig.model_validate(dict(config)), schema)

    def embedding_tables(self) -> Mapping[str, ExpandableEmbedding]:
        """Return the tables by field name."""
        return {name: cast("ExpandableEmbedding", self.tables[_key(name)]) for name in self.schema.categorical}

    def signature(self) -> Signature:
        """Return the signature that follows from the schema."""
        return self.schema.signature()

    def forward(self, batch: FeatureBatch) -> Tensor:
        """Return logits ``[n]``."""
        rows = self._rows(batch)
        linear, vectors = rows[..., 0].sum(1), rows[..., 1:]
        pairs = 0.5 * (vectors.sum(1).square() - vectors.square().sum(1)).sum(1)
        deep: Tensor = self.mlp(vectors.flatten(1)).squeeze(1)
        return self.bias + linear + pairs + deep

    def _rows(self, batch: FeatureBatch) -> Tensor:
        """Return ``[n, fields, 1 + dim]``."""
        parts = [table(batch.categorical[name]) for name, table in self.embedding_tables().items()]
        if self.schema.numeric:
            values = torch.stack([batch.numeric[name] for name in self.schema.numeric], 1).to(self.bias.device)
            scaled = values.sign() * values.abs().log1p()
            parts.extend((scaled[:, :, None] * self.numeric_rows).unbind(1))
        return torch.stack(parts, 1)


def _mlp(inputs: int, config: DeepFMConfig) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in config.hidden:
        layers += [nn.Linear(inputs, width), nn.ReLU()]
        layers += [nn.Dropout(config.dropout)] if config.dropout else []
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, 1))


def _key(name: str) -> str:
    # A module name may hold no dot and hide no attribute of ModuleDict ("type", "keys", …).
    return "field_" + name.replace(".", "%2E")
