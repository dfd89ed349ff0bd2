"""CEL rules of the CRD: written beside the types that they guard, answered with what to write instead."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

RULES: Final = "x-kubernetes-validations"
PRESERVE: Final = "x-kubernetes-preserve-unknown-fields"

Schema = dict[str, Any]

#: At most five digits per unit, so that no sum leaves the range of CEL's durations (292 years).
DURATION_PATTERN: Final = "^([0-9]{1,5}d)?([0-9]{1,5}h)?([0-9]{1,5}m)?([0-9]{1,5}s)?$"

#: The part of it that CEL reads.
_CEL_DURATION: Final = "^([0-9]{1,5}h)?([0-9]{1,5}m)?([0-9]{1,5}s)?$"

#: A DNS label that may also name a Service.
LABEL_PATTERN: Final = "^[a-z]([-a-z0-9]*[a-z0-9])?$"


def rule(expression: str, message: str) -> Schema:
    """One rule; ``message`` says what to write instead."""
    return {"rule": expression, "message": message}


def checked(*rules: Schema) -> Callable[[Schema], None]:
    """A ``json_schema_extra`` that adds ``rules`` to those that the schema already has."""

    def add(schema: Schema) -> None:
        schema[RULES] = [*schema.get(RULES, []), *rules]

    return add


def keyed(*keys: str) -> Callable[[Schema], None]:
    """A ``json_schema_extra`` for a list whose items are told apart by ``keys``."""

    def add(schema: Schema) -> None:
        schema["x-kubernetes-list-type"] = "map"
        schema["x-kubernetes-list-map-keys"] = list(keys)

    return add


def at_most(left: str, right: str, message: str) -> Schema:
    """``left`` is no longer than ``right``, where both are given, well-formed and without days.

    CEL knows no days, and the API server finds their conversion too costly: ``check.problems`` compares those.
    The API server also tries a rule on defaults that are not filled in yet, so no field is sure to be there.
    """
    comparable = " && ".join(f"has({field}) && {field}.matches('{_CEL_DURATION}')" for field in (left, right))
    return rule(f"!({comparable}) || duration({left}) <= duration({right})", message)


DURATION: Final = rule(
    f"self.matches('{DURATION_PATTERN}')",
    "not a duration: write whole days, hours, minutes and seconds, e.g. 30s, 15m, 1h30m or 2d",
)
POSITIVE: Final = rule("self.matches('[1-9]')", "the duration must be longer than zero, e.g. 30s")
NO_CREDENTIALS: Final = rule(
    "!self.matches('^[^/]*//[^/]*@')",
    "credentials never stand in a URL: put them into a Secret and name it in credentialsSecretRef",
)
HTTP: Final = rule("self.matches('^https?://[^/]')", "not an HTTP address: write http://HOST:PORT or https://HOST")
SERVICE_NAME: Final = rule(
    f"self.matches('{LABEL_PATTERN}')",
    "not a Service name: write lower-case letters, digits and hyphens, starting with a letter",
)
