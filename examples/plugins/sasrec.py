"""A self-attentive sequence model (Kang, McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018).

The caller logs what the user did last as fields of the event, newest first, ``""`` where there was nothing, and
sends the same fields when it asks for predictions: training and serving then see the same history::

    data: {schema: {categorical: [user, item, last1, last2, last3, last4]}}
    training: {config: {architecture: "sasrec:SASRec", dim: 16, history: [last1, last2, last3, last4]}}

All positions share the table of items. Unlike the paper, which ranks against sampled items, the loss is that of
clicks and non-clicks, as for every model that Viridian trains.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from viridian_model.embedding import ExpandableEmbedding
from viridian_model.features import FeatureBatch
from viridian_model.ids import id_hash
from viridian_model.schema import Schema, Signature

_NOTHING = id_hash("")


class SASRec(nn.Module):
    """One causal attention block over the history; its last state is compared with the candidate item."""

    def __init__(self, schema: Schema, history: Sequence[str], dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        if missing := [name for name in (schema.item, *history) if name not in schema.categorical]:
            raise ValueError(f"field {missing[0]} is not in data.schema.categorical")
        if not history:
            raise ValueError("history must name at least one field")
        self.schema, self.history = schema, list(history)
        self.items = ExpandableEmbedding(schema.item, dim)
        self.positions = nn.Parameter(torch.randn(len(history), dim) * 0.02)
        self.start = nn.Parameter(torch.zeros(dim))  # stands for an empty history
        self.block = nn.TransformerEncoderLayer(dim, heads, 2 * dim, dropout, batch_first=True, norm_first=True)
        self.bias = nn.Linear(dim, 1)

    @classmethod
    def from_config(cls, config: Mapping[str, Any], schema: Schema) -> Self:
        """Keys: ``history`` (field names, newest first), ``dim`` (16), ``heads`` (2), ``dropout`` (0)."""
        if unknown := sorted(set(config) - {"history", "dim", "heads", "dropout"}):
            raise ValueError(f"unknown key {unknown[0]}; known are history, dim, heads, dropout")
        dim, heads = int(config.get("dim", 16)), int(config.get("heads", 2))
        return cls(schema, config.get("history", ()), dim, heads, float(config.get("dropout", 0.0)))

    def embedding_tables(self) -> Mapping[str, ExpandableEmbedding]:
        """The table of items grows with the item of the event; an unknown item of the history is the mean item."""
        return {self.schema.item: self.items}

    def signature(self) -> Signature:
        """Inputs and outputs follow from the schema."""
        return self.schema.signature()

    def forward(self, batch: FeatureBatch) -> Tensor:
        """Logits ``[n]``."""
        item = self.items(batch.categorical[self.schema.item])
        logits: Tensor = (self._state(batch) * item).sum(1) + self.bias(item).squeeze(1)
        return logits

    def _state(self, batch: FeatureBatch) -> Tensor:
        """What the user is after, ``[n, dim]``: the block's output at the newest position."""
        hashes = torch.stack([batch.categorical[name] for name in reversed(self.history)], 1)
        vectors = self.items(hashes.flatten()).unflatten(0, hashes.shape) + self.positions
        empty = (hashes == _NOTHING).to(vectors.device)
        start = self.start.expand(len(batch), 1, -1)
        sequence = torch.cat([start, vectors.masked_fill(empty[:, :, None], 0.0)], 1)
        padding = torch.cat([empty.new_zeros(len(batch), 1), empty], 1)
        length = sequence.shape[1]
        future = torch.ones(length, length, dtype=torch.bool, device=sequence.device).triu(1)
        seen = self.block(sequence, src_mask=future, src_key_padding_mask=padding)
        state: Tensor = torch.where(empty[:, -1:], seen[:, 0], seen[:, -1])
        return state
