from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from viridian_model.canonical import canonical_json, digest_of

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
def test_is_a_fixed_point_and_ascii(obj: object) -> None:
    encoded = canonical_json(obj)
    assert canonical_json(json.loads(encoded)) == encoded
    assert encoded.isascii()
    assert digest_of(obj) == "sha256:" + hashlib.sha256(encoded).hexdigest()


def test_form_is_that_of_the_contract() -> None:
    assert canonical_json({"b": [1, 2.5], "a": "é"}) == b'{"a":"\\u00e9","b":[1,2.5]}'


def test_nan_is_refused() -> None:
    with pytest.raises(ValueError):
        canonical_json({"x": float("nan")})
