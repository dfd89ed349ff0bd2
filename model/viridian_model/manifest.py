"""``manifest.json``: what a bundle is, where it comes from, and the SHA-256 of each of its files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic.alias_generators import to_camel
from torch import Tensor

from viridian_model.canonical import DIGEST as DIGEST
from viridian_model.canonical import canonical_json, digest_of
from viridian_model.contract import RankingModel, first_problem
from viridian_model.errors import BadBundle
from viridian_model.merkle import MerkleTree, root_of_roots
from viridian_model.schema import Signature

SCHEMA = "viridian.bundle/v1"

FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]


class _Part(BaseModel):
    # A field that a later version adds is kept and ignored; the digest is that of the JSON as it was written.
    model_config = ConfigDict(frozen=True, extra="allow", alias_generator=to_camel, populate_by_name=True)


class Window(_Part):
    """Exactly the entries between two positions per partition."""

    start: dict[str, str] = Field(alias="from")
    to: dict[str, str]


class Parent(_Part):
    """The version whose weights training started from."""

    version: str
    digest: str


class Code(_Part):
    """What trained it."""

    version: str
    image: str = ""


class FileEntry(_Part):
    """SHA-256 (hex) and size (bytes) of one file."""

    sha256: Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]
    size: Annotated[int, Field(ge=0)]


class TableEntry(_Part):
    """Rows, width and Merkle root (hex) of one embedding table."""

    rows: int
    dim: int
    merkle_root: str


class Provenance(_Part):
    """The part of a manifest that only the trainer knows."""

    model: str
    kind: Literal["Full", "Incremental"]
    lineage: str
    parent: Parent | None = None
    window: Window
    trained_to: dict[str, str]
    event_time: float | None = None
    seed: int = 0
    events: dict[str, int] = Field(default_factory=dict)
    code: Code


class Manifest(Provenance):
    """All of ``manifest.json``."""

    schema_: Literal["viridian.bundle/v1"] = Field(default="viridian.bundle/v1", alias="schema")
    files: dict[FileName, FileEntry]
    tables: dict[str, TableEntry]
    merkle_root: str
    signature: Signature

    @classmethod
    def from_json(cls, obj: object) -> Manifest:
        """Parse ``manifest.json``.

        Raises:
            BadBundle: it does not fit.
        """
        try:
            return cls.model_validate(obj)
        except ValidationError as error:
            raise BadBundle(f"manifest.json does not fit: {first_problem(error)}") from None

    def to_json(self) -> dict[str, Any]:
        """Return the object whose canonical JSON is the file."""
        return self.model_dump(mode="json", by_alias=True)

    @property
    def digest(self) -> str:
        """``sha256:…`` of the canonical JSON."""
        return digest_of(self.to_json())

    def canonical(self) -> bytes:
        """Return the bytes of the file; their SHA-256 is the digest."""
        return canonical_json(self.to_json())


def tables_of(model: RankingModel) -> dict[str, TableEntry]:
    """Describe the tables of a model."""
    entries = {}
    for name, table in model.embedding_tables().items():
        root = MerkleTree(table.weight.detach()[: table.rows], table.ids).root
        entries[name] = TableEntry(rows=table.rows, dim=table.dim, merkle_root=root)
    return entries


def merkle_root_of(model: RankingModel, tables: Mapping[str, TableEntry]) -> str:
    """Combine the roots of ``tables`` and of every other saved tensor (as ``[first dimension, rest]``)."""
    inside = {id(table.weight) for table in model.embedding_tables().values()}
    saved = model.state_dict()
    dense = {
        f"dense/{name}": MerkleTree(_as_table(tensor)).root
        for name, tensor in (*model.named_parameters(), *model.named_buffers())
        if name in saved and id(tensor) not in inside
    }
    return root_of_roots({f"table/{name}": entry.merkle_root for name, entry in tables.items()} | dense)


def _as_table(tensor: Tensor) -> Tensor:
    return tensor.detach().flatten(1) if tensor.dim() > 1 else tensor.detach().reshape(-1, 1)
