"""Verdicts, promotions and quarantines are told to the registry by tags; owed while it is down, dropped once seen."""

from __future__ import annotations

from viridian_operator.api.status import OWED_LIMIT, OwedTag
from viridian_operator.decide.draft import Draft

VERDICT = "viridian.verdict"
#: number of the update that made the version champion; an alias can be moved by anybody
PROMOTED = "viridian.promoted"
QUARANTINE = "viridian.quarantine"
#: events between the parent and the window that a person gave up, as JSON
GAPS = "viridian.gaps"
#: all of them
TAGS = (VERDICT, PROMOTED, QUARANTINE, GAPS)
#: value of the quarantine tag after a person took the digest off the list
LIFTED = "lifted"


def owe_tag(d: Draft, version: str, key: str, value: str) -> None:
    """Owe the registry this tag; a newer value of the same tag takes the place of an older one."""
    rest = [tag for tag in d.status.owed_tags if (tag.version, tag.key) != (version, key)]
    d.put(owed_tags=[*rest, OwedTag(version=version, key=key, value=value)][-OWED_LIMIT:])


def check_tags(d: Draft) -> None:
    """Drop what the registry is seen to have, and what belongs to versions that it has no more."""
    registry = d.seen.registry
    rest = [tag for tag in d.status.owed_tags if not registry.lacks(f"version:{tag.version}")]
    if found := registry.version:
        rest = [tag for tag in rest if tag.version != found.version or found.tags.get(tag.key) != tag.value]
    if len(rest) != len(d.status.owed_tags):
        d.put(owed_tags=rest)
