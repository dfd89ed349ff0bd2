"""Merge deltas that follow on each other into one."""

from __future__ import annotations

from collections.abc import Sequence

from viridian_model.chain.delta import Delta


def merge(deltas: Sequence[Delta]) -> Delta:
    """Return one delta that leads from the parent of the first to the root of the last, bit for bit.

    The last write of each row and tensor wins. The merged payload holds served values, so its encoding is ``fp32``.

    Raises:
        BadDelta: they do not follow on each other.
    """
    raise NotImplementedError
