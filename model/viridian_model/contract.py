"""Plug-in contract of models, and how ``model.json`` names one.

A model of your own is an installed class that keeps `RankingModel`; ``model.json`` names it as
``package.module:Class``. Nothing in a bundle is executed: the class must already be in the image.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import Any, Protocol, Self, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor, nn

from viridian_model.embedding import ExpandableEmbedding
from viridian_model.errors import BadBundle
from viridian_model.features import FeatureBatch
from viridian_model.schema import Schema, Signature

DEFAULT_ARCHITECTURE = "viridian_model.deepfm:DeepFM"


class RankingModel(Protocol):
    """An `nn.Module` that gives one logit per example. What is not named here comes from `nn.Module`."""

    schema: Schema
    training: bool

    @classmethod
    def from_config(cls, config: Mapping[str, Any], schema: Schema) -> Self:
        """Build an untrained model; random numbers come from torch's global generator.

        Raises:
            ValueError: the config holds a key or value that the architecture does not know.
        """
        ...

    def forward(self, batch: FeatureBatch) -> Tensor:
        """Return logits, float ``[n]``."""
        ...

    def embedding_tables(self) -> Mapping[str, ExpandableEmbedding]:
        """Return the tables that grow, by the name they have in the manifest."""
        ...

    def signature(self) -> Signature:
        """Return inputs and outputs for the manifest."""
        ...

    def __call__(self, batch: FeatureBatch) -> Tensor: ...
    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]: ...
    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, nn.Parameter]]: ...
    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> Any: ...
    def train(self, mode: bool = True) -> Self: ...
    def eval(self) -> Self: ...


class ModelSpec(BaseModel):
    """``model.json``: which class, with which config, over which fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    architecture: str = DEFAULT_ARCHITECTURE
    config: dict[str, Any] = Field(default_factory=dict)
    # "schema" is taken in pydantic's BaseModel, the JSON name stays "schema".
    fields: Schema = Field(alias="schema")

    @classmethod
    def of(
        cls,
        schema: Schema,
        *,
        architecture: str = DEFAULT_ARCHITECTURE,
        config: Mapping[str, Any] | None = None,
    ) -> ModelSpec:
        """Make a spec in code."""
        return cls(architecture=architecture, config=dict(config or {}), schema=schema)

    @classmethod
    def from_json(cls, obj: object) -> ModelSpec:
        """Parse ``model.json``.

        Raises:
            BadBundle: it does not fit.
        """
        try:
            return cls.model_validate(obj)
        except ValidationError as error:
            raise BadBundle(f"model.json does not fit: {first_problem(error)}") from None

    def to_json(self) -> dict[str, Any]:
        """Return the object that goes into ``model.json``."""
        return self.model_dump(mode="json", by_alias=True)

    def build(self) -> RankingModel:
        """Return a fresh model.

        Raises:
            BadBundle: the architecture cannot be resolved or refuses the config.
        """
        architecture = resolve(self.architecture)
        try:
            return architecture.from_config(self.config, self.fields)
        except (ValueError, TypeError, KeyError, AssertionError) as error:  # torch's own layers assert
            raise BadBundle(f"model.json: {self.architecture} refuses its config: {error}") from error


def resolve(architecture: str) -> type[RankingModel]:
    """Return the class that ``package.module:Class`` names.

    Raises:
        BadBundle: the text is malformed, the module not installed, or the class does not keep the contract.
    """
    module_name, _, class_name = architecture.partition(":")
    if not class_name.isidentifier() or not all(part.isidentifier() for part in module_name.split(".")):
        raise BadBundle(f"architecture {architecture!r} is not of the form package.module:Class")
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except ImportError as error:
        raise BadBundle(f"architecture {architecture!r} is not in this image: {error}") from None
    except AttributeError:
        raise BadBundle(f"architecture {architecture!r}: {module_name} has no {class_name}") from None
    except Exception as error:  # whatever a plug-in does while it is imported
        raise BadBundle(f"architecture {architecture!r}: importing {module_name} fails: {error}") from error
    if not isinstance(found, type) or not issubclass(found, nn.Module):
        raise BadBundle(f"architecture {architecture!r} is not a torch.nn.Module class")
    needed = ("from_config", "embedding_tables", "signature")
    if missing := [name for name in needed if not callable(getattr(found, name, None))]:
        raise BadBundle(f"architecture {architecture!r} lacks {', '.join(missing)}; see viridian_model.contract")
    return cast("type[RankingModel]", found)


def first_problem(error: ValidationError) -> str:
    """Return the first problem of a pydantic error as ``where: what``."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']}" if where else first["msg"]
