"""DeepFM (Guo et al., IJCAI 2017) over expandable tables: first order + pairwise interactions + MLP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, cast

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from viridian_model.embedding import ExpandableEmbedding
from viridian_model.features import FeatureBatch
from viridian_model.ids import id_hash
from viridian_model.schema import Schema, Signature

EMPTY = id_hash("")
"""Stands in a field of a pool where a user has fewer ids than there are fields."""


class Pool(BaseModel):
    """Several fields with ids of one table, such as the last items of a user, that become one vector."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    table: str
    fields: tuple[str, ...] = Field(min_length=1)


class DeepFMConfig(BaseModel):
    """``spec.training.config`` as far as the architecture reads it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pools: dict[str, Pool] = {}
    dim: int = Field(default=16, ge=1, le=1024)
    hidden: tuple[int, ...] = (64, 32)
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    sparse: bool = False


class DeepFM(nn.Module):
    """One table ``[rows, 1 + dim]`` per categorical field: the first-order weight, then the vector.

    A numeric field is one learned row of the same width, scaled by ``sign(x) · log(1 + |x|)``. A pool of fields is the
    mean over them of a learned affine map of the vectors that the named table has for their ids; empty ones (``""``)
    add nothing, so that the mean also tells how many there are. Averages of what a user watched come from Covington,
    Adams, Sargin, "Deep Neural Networks for YouTube Recommendations", RecSys 2016.
    """

    numeric_rows: nn.Parameter
    bias: nn.Parameter

    def __init__(self, config: DeepFMConfig, schema: Schema) -> None:
        super().__init__()
        self.config, self.schema = config, schema
        self._single = _single_fields(config, schema)
        self._pools = sorted(config.pools.items())  # canonical JSON, as in model.json, keeps no other order
        width = 1 + config.dim
        self.tables = nn.ModuleDict(
            {_key(name): ExpandableEmbedding(name, width, sparse=config.sparse) for name in self._single}
        )
        self.pools = nn.ModuleDict({_key(name): nn.Linear(width, width) for name, _ in self._pools})
        self.numeric_rows = nn.Parameter(torch.randn(len(schema.numeric), width) * 0.01)
        self.bias = nn.Parameter(torch.zeros(()))
        self.mlp = _mlp((len(self._single) + len(config.pools) + len(schema.numeric)) * config.dim, config)

    @classmethod
    def from_config(cls, config: Mapping[str, Any], schema: Schema) -> Self:
        """Build an untrained model from ``dim``, ``hidden``, ``dropout``, ``sparse`` and ``pools``; see `DeepFMConfig`.

        Raises:
            ValueError: another key, or a value out of range.
        """
        return cls(DeepFMConfig.model_validate(dict(config)), schema)

    def embedding_tables(self) -> Mapping[str, ExpandableEmbedding]:
        """Return the tables by field name."""
        return {name: cast("ExpandableEmbedding", self.tables[_key(name)]) for name in self._single}

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
        tables = self.embedding_tables()
        parts = [table(batch.categorical[name]) for name, table in tables.items()]
        parts += [self._pooled(name, pool, tables[pool.table], batch) for name, pool in self._pools]
        if self.schema.numeric:
            values = torch.stack([batch.numeric[name] for name in self.schema.numeric], 1).to(self.bias.device)
            scaled = values.sign() * values.abs().log1p()
            parts.extend((scaled[:, :, None] * self.numeric_rows).unbind(1))
        return torch.stack(parts, 1)

    def _pooled(self, name: str, pool: Pool, table: ExpandableEmbedding, batch: FeatureBatch) -> Tensor:
        """Return ``[n, 1 + dim]``."""
        ids = torch.stack([batch.categorical[field] for field in pool.fields], 1)
        vectors: Tensor = self.pools[_key(name)](table(ids.flatten()).unflatten(0, ids.shape))
        present = (ids != EMPTY).to(vectors)
        return (vectors * present[:, :, None]).sum(1) / len(pool.fields)


def _single_fields(config: DeepFMConfig, schema: Schema) -> list[str]:
    """Return the categorical fields with a table of their own.

    Raises:
        ValueError: a pool names what the schema lacks, or a field that another pool has.
    """
    pooled = [field for pool in config.pools.values() for field in pool.fields]
    single = [name for name in schema.categorical if name not in pooled]
    for name, pool in config.pools.items():
        if missing := [field for field in pool.fields if field not in schema.categorical or pooled.count(field) > 1]:
            raise ValueError(
                f"pools.{name}: field {missing[0]!r} must stand in schema.categorical, and in one pool once"
            )
        if pool.table not in single:
            raise ValueError(f"pools.{name}: table {pool.table!r} must be a categorical field that no pool has")
    return single


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
