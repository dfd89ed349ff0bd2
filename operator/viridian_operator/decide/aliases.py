"""Registry aliases are an output: written last, read back, and never an input."""

from __future__ import annotations

from viridian_operator.api.conditions import Reason
from viridian_operator.api.spec import AliasDrift
from viridian_operator.decide.draft import Draft


def check_aliases(d: Draft) -> None:
    """Confirm aliases that the registry has; report, or restore, ones that somebody else moved."""
    aliases, found = d.status.aliases, d.seen.registry.aliases
    if found is None or not aliases.wanted:
        return
    other = {alias: found.get(alias, "") for alias, version in aliases.wanted.items() if found.get(alias) != version}
    if not aliases.confirmed:
        if not set(other) - left_alone(d):
            d.put(aliases=aliases.but(confirmed=True, foreign=other))
        return
    if other and d.spec.registry.drift_policy is AliasDrift.RESTORE:
        d.put(aliases=aliases.but(confirmed=False))
    if other != aliases.foreign:
        d.put(aliases=d.status.aliases.but(foreign=other))
        for alias, version in other.items():
            d.note(
                Reason.ALIAS_DRIFT,
                f"alias {alias} was moved to version {version or 'none'} by somebody else",
                warn=True,
            )


def left_alone(d: Draft) -> set[str]:
    """Aliases that somebody else moved, and that nothing but a promotion moves again."""
    return set() if d.spec.registry.drift_policy is AliasDrift.RESTORE else set(d.status.aliases.foreign)
