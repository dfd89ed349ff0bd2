"""``spec.follow``: which version of the registry strategy ``Registry`` rolls out."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from pydantic import ConfigDict, Field

from viridian_operator.api.base import ApiModel
from viridian_operator.api.durations import Duration
from viridian_operator.api.validation import POSITIVE, checked, rule

#: aliases that Viridian writes: they tell what passed, and are never an instruction to serve
OUTPUTS: Final = ("champion", "previous", "candidate")

_ONE = rule(
    "has(self.alias) != has(self.version)",
    "follow either an alias or a version, e.g. follow: {alias: challenger}",
)
_NO_OUTPUT = rule(
    f"!(self in [{', '.join(repr(alias) for alias in OUTPUTS)}])",
    "Viridian itself writes the aliases champion, previous and candidate, to tell what passed: "
    "follow one of your own, e.g. challenger",
)


class Follow(ApiModel):
    """A version that was trained elsewhere, by number or by an alias that names it."""

    model_config = ConfigDict(json_schema_extra=checked(_ONE))

    alias: str | None = Field(
        default=None,
        min_length=1,
        max_length=255,
        description="of the registered model; the version that it names is rolled out whenever it moves",
        json_schema_extra=checked(_NO_OUTPUT),
    )
    version: int | None = Field(default=None, ge=1, description="of the registered model")
    poll_interval: Duration = Field(
        default=timedelta(seconds=30),
        description="time between two looks at the alias, at least 5s",
        json_schema_extra=checked(POSITIVE),
    )

    def __str__(self) -> str:
        return f"alias {self.alias}" if self.alias else f"version {self.version}"
