"""Names of what a store holds; see docs/reference/online.md."""

from __future__ import annotations

import re

LONGEST_PART = 250
"""Characters of a name that somebody gives; a file system takes 255 bytes."""
_PART = r"[A-Za-z0-9_-][A-Za-z0-9._-]*"
_KEY = re.compile(rf"{_PART}(/{_PART})*")


def checked(key: str) -> str:
    """Return ``key``.

    Raises:
        ValueError: a transport could not keep it, or it would lead out of the store.
    """
    if not _KEY.fullmatch(key):
        raise ValueError(
            f"{key!r} is no key of a store: parts of letters, digits and ._- between /, none begins with a dot"
        )
    return key


def checked_part(name: str) -> str:
    """Return ``name``, which is to be one part of a key.

    Raises:
        ValueError: it would be more or less than one part, or a transport could not keep it.
    """
    if len(name) > LONGEST_PART or not re.fullmatch(_PART, name):
        raise ValueError(
            f"{name!r} is no part of a key of a store: 1 to {LONGEST_PART} letters, digits and ._-, "
            "not beginning with a dot"
        )
    return name
