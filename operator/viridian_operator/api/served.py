"""Whether a served schema can hold what this operator writes: one of an older release cannot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from viridian_operator.api.crd import definition

Schema = Mapping[str, Any]


def missing_fields(openapi: Mapping[str, Any], kind: str) -> list[str]:
    """Paths in status that ``openapi`` (an OpenAPI v3 document of our group and version) does not know, outermost only.

    An unknown field in a status makes the API server refuse the whole of it.
    """
    schemas: Mapping[str, Schema] = (openapi.get("components") or {}).get("schemas") or {}
    served = next((schema for schema in schemas.values() if _is(schema, kind)), {})
    root = definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    wanted = root["properties"]["status"]
    return list(_missing((served.get("properties") or {}).get("status"), wanted, "status"))


def _is(schema: Schema, kind: str) -> bool:
    kinds = schema.get("x-kubernetes-group-version-kind") or ()
    return any(each.get("kind") == kind for each in kinds)


def _missing(served: Schema | None, wanted: Schema, path: str) -> Iterator[str]:
    if served is None:
        yield path
        return
    for name, schema in (wanted.get("properties") or {}).items():
        yield from _missing((served.get("properties") or {}).get(name), schema, f"{path}.{name}")
    for inner in ("items", "additionalProperties"):
        if isinstance(wanted.get(inner), Mapping):
            yield from _missing(served.get(inner), wanted[inner], f"{path}[]")
