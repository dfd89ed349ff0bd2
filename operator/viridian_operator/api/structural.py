"""Pydantic's JSON schema as a structural schema of Kubernetes.

Differences that matter: no ``$ref``, no ``anyOf`` for absent values, boolean ``exclusiveMaximum``, a bound on
every string, list and map (the API server refuses rules whose cost it cannot bound).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from viridian_operator.api.base import ApiModel
from viridian_operator.api.durations import format_duration
from viridian_operator.api.validation import PRESERVE, RULES, Schema

#: Keywords that mean the same in both; everything else is translated or left out.
_KEPT: Final = (
    "type",
    "format",
    "enum",
    "pattern",
    "default",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "maxProperties",
    "required",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    PRESERVE,
    RULES,
)


@dataclass(frozen=True)
class Bounds:
    """Limits for strings (characters), lists (items) and maps (entries) that name none."""

    string: int
    items: int
    entries: int


class _Generator(GenerateJsonSchema):
    """Defaults as they stand in a manifest."""

    def encode_default(self, dft: Any) -> Any:
        if isinstance(dft, ApiModel):
            return {}  # the API server fills in the defaults of the fields
        if isinstance(dft, timedelta):
            return format_duration(dft)
        if isinstance(dft, list):
            return [item.wire() if isinstance(item, ApiModel) else item for item in dft]
        return super().encode_default(dft)


def structural(model: type[BaseModel], bounds: Bounds, *, defaults: bool = True) -> Schema:
    """Schema of ``model``, without references."""
    raw = model.model_json_schema(by_alias=True, schema_generator=_Generator)
    return _Translation(raw.get("$defs", {}), bounds, defaults).schema(raw)


class _Translation:
    def __init__(self, definitions: Schema, bounds: Bounds, defaults: bool) -> None:
        self._definitions = definitions
        self._bounds = bounds
        self._defaults = defaults

    def schema(self, raw: Schema) -> Schema:
        """``raw`` in the structural form."""
        raw = self._resolved(raw)
        out: Schema = {"description": _prose(raw["description"])} if "description" in raw else {}
        out |= {key: raw[key] for key in _KEPT if key in raw}
        if "exclusiveMaximum" in raw:
            out |= {"maximum": raw["exclusiveMaximum"], "exclusiveMaximum": True}
        self._tidy_default(out)
        self._nested(raw, out)
        self._bound(out)
        if out.get("type") == "string" and RULES in out:
            out.pop("pattern", None)  # the rule says in a sentence what the pattern says in an expression
        return out

    def _resolved(self, raw: Schema) -> Schema:
        """``raw`` without references; what stands beside a reference wins over what it refers to."""
        variants = [variant for variant in raw.get("anyOf", []) if variant.get("type") != "null"]
        if "anyOf" in raw:
            (variant,) = variants
            raw = self._merged(variant, {key: value for key, value in raw.items() if key != "anyOf"})
        if "$ref" in raw:
            definition = self._definitions[raw["$ref"].removeprefix("#/$defs/")]
            rest = {key: value for key, value in raw.items() if key != "$ref"}
            return self._resolved(self._merged(definition, rest))
        return raw

    @staticmethod
    def _merged(inner: Schema, outer: Schema) -> Schema:
        rules = [*inner.get(RULES, []), *outer.get(RULES, [])]
        return inner | outer | ({RULES: rules} if rules else {})

    def _tidy_default(self, out: Schema) -> None:
        if not self._defaults or out.get("default", 0) in (None, [], ""):
            out.pop("default", None)

    def _nested(self, raw: Schema, out: Schema) -> None:
        if "properties" in raw:
            out["properties"] = {name: self.schema(child) for name, child in raw["properties"].items()}
        if "items" in raw:
            out["items"] = self.schema(raw["items"])
        extra = raw.get("additionalProperties")
        if isinstance(extra, dict):
            out["additionalProperties"] = self.schema(extra)
        elif extra is True:
            out[PRESERVE] = True
        if "properties" not in raw and out.get("default") == {}:
            del out["default"]  # an empty map says no more than an absent one

    def _bound(self, out: Schema) -> None:
        kind = out.get("type")
        if kind == "string" and "enum" not in out and "format" not in out:
            out.setdefault("maxLength", self._bounds.string)
        elif kind == "array":
            out.setdefault("maxItems", self._bounds.items)
        elif "additionalProperties" in out:
            out.setdefault("maxProperties", self._bounds.entries)


def _prose(text: str) -> str:
    """Docstring markup taken off: descriptions are read by ``kubectl explain``."""
    return " ".join(text.replace("``", "'").split())
