"""Symmetric 8-bit quantisation with a scale per row."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from viridian_model.errors import BadDelta

_LEVELS = np.float32(127)


def is_quantisable(values: NDArray[Any]) -> bool:
    """Whether ``values`` are fp32 rows; scalars, vectors and all other types stay as they are."""
    return values.dtype == np.float32 and values.ndim >= 2 and values.size > 0


def quantise(values: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
    """Return scales ``[k]`` and int8 values of the shape of ``values`` (``[k, …]``); a row of zeros stays one.

    Raises:
        BadDelta: a value is not finite.
    """
    if not np.isfinite(values).all():
        raise BadDelta("values that are not finite cannot be sent as int8; send them as fp32, or do not train on")
    rows = values.reshape(len(values), -1)
    largest = np.abs(rows).max(axis=1, initial=0).astype(np.float32)
    scale = np.where(largest > 0, largest / _LEVELS, np.float32(1)).astype(np.float32)
    levels = np.clip(np.rint(rows / scale[:, None]), -_LEVELS, _LEVELS).astype(np.int8)
    return scale, levels.reshape(values.shape)


def restore(scale: NDArray[Any], values: NDArray[Any]) -> NDArray[np.float32]:
    """Return what readers get: one multiplication per value, correctly rounded, so the same bits with every reader.

    Raises:
        BadDelta: the arrays are not those of `quantise`.
    """
    if scale.dtype != np.float32 or values.dtype != np.int8 or scale.shape != values.shape[:1]:
        raise BadDelta(f"values {values.dtype} {values.shape} have scales {scale.dtype} {scale.shape}")
    factors = scale.reshape(-1, *(1,) * (values.ndim - 1))
    restored: NDArray[np.float32] = values.astype(np.float32) * factors
    return restored


def rounded(values: NDArray[Any]) -> NDArray[Any]:
    """Return ``values`` as readers get them when they are sent as int8."""
    return restore(*quantise(values)) if is_quantisable(values) else values
