"""What can stand in the way of an effect, beyond errors of the APIs."""

from __future__ import annotations


class NameTaken(Exception):
    """An object of a name that we need exists and is not ours; it is left untouched."""

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f"{kind} {name} exists and does not belong to this ModelUpdate")
        self.kind = kind
        self.name = name
        self.failures: tuple[str, ...] = ()


class StillReferred(Exception):
    """A Service selects what was to be deleted."""
