"""Names of what a store holds; see docs/reference/online.md."""

from __future__ import annotations

import re

_KEY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")


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
