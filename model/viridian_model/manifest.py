"""``manifest.json``: what a bundle is, where it comes from, and the SHA-256 of each of its files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic.alias_generators import to_camel

from viridian_model.canonical import DIGEST as DIGEST
from viridian_model.canonical import canonical_json, digest_of
from viridian_model.chain.roots import Roots, root_of_model, roots_of_tensors
from viridian_model.chain.state import ModelState
from viridian_model.contract import RankingModel, first_problem
from viridian_model.errors import BadBundle
from viridian_model.schema import Signature
from viridian_model.served import state_of

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
    trees = Roots.of(ModelState(state_of(model).tables)).tables
    return {name: TableEntry(rows=tree.rows, dim=tree.dim, merkle_root=tree.root) for name, tree in trees.items()}


def merkle_root_of(model: RankingModel, tables: Mapping[str, TableEntry]) -> str:
    """Combine the roots of ``tables`` and of every other saved tensor."""
    tensors = state_of(model).tensors
    return root_of_model({name: entry.merkle_root for name, entry in tables.items()}, roots_of_tensors(tensors))
