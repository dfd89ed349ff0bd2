from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from viridian_model.merkle import LEAF_ROWS, MerkleTree, Rows, root_of_roots

DTYPES = ("float32", "float16", "int8", "int64", "bool")


def table(rows: int, dim: int = 3, dtype: str = "float32", seed: int = 0) -> NDArray[Any]:
    return np.random.default_rng(seed).integers(0, 100, (rows, dim)).astype(dtype)


def ids_of(rows: int) -> NDArray[np.int64]:
    return np.random.default_rng(1).integers(-(2**63), 2**63 - 1, rows)


def rows_at(positions: NDArray[np.int64], values: NDArray[Any], ids: NDArray[np.int64]) -> Rows:
    here = positions[positions < len(values)]
    return Rows(here, values[here], ids[here])


@given(
    before=st.integers(0, 2000),
    after=st.integers(0, 2000),
    changed=st.sets(st.integers(0, 1999), max_size=8),
    dtype=st.sampled_from(DTYPES),
)
@settings(max_examples=60, deadline=None)
def test_replacing_rows_equals_building_anew(before: int, after: int, changed: set[int], dtype: str) -> None:
    old, old_ids = table(before, 3, dtype), ids_of(before)
    new, new_ids = table(after, 3, dtype), ids_of(after)
    new[: min(before, after)] = old[: min(before, after)]
    new_ids[: min(before, after)] = old_ids[: min(before, after)]
    written = np.array([row for row in changed if row < after], dtype=np.int64)
    new[written] = 1 - new[written] if dtype != "bool" else ~new[written]
    touched = np.union1d(written, np.arange(min(before, after), max(before, after)))
    tree = MerkleTree.of(old, old_ids)
    replaced = tree.replace(rows_at(touched, old, old_ids), rows_at(touched, new, new_ids), after)
    assert replaced.root == MerkleTree.of(new, new_ids).root
    assert tree.root == MerkleTree.of(old, old_ids).root
    assert (replaced.root != tree.root) == (old.tobytes() != new.tobytes() or before != after)
    assert set(replaced.differing(tree)) == {int(row) // LEAF_ROWS for row in touched}


@given(data=st.data(), dtype=st.sampled_from(("float32", "float16", "int8", "int64")), dim=st.integers(1, 40))
@settings(max_examples=200, deadline=None)
def test_any_flipped_bit_of_values_or_ids_changes_the_root(data: st.DataObject, dtype: str, dim: int) -> None:
    values, ids = table(300, dim, dtype), ids_of(300)
    tree = MerkleTree.of(values, ids)
    array = data.draw(st.sampled_from((values, ids)))
    bit = data.draw(st.integers(0, array.nbytes * 8 - 1))
    array.view(np.uint8).reshape(-1)[bit // 8] ^= 1 << (bit % 8)
    flipped = MerkleTree.of(values, ids)
    row = bit // 8 // (array.nbytes // 300)
    assert flipped.root != tree.root
    assert flipped.differing(tree).tolist() == [row // LEAF_ROWS]


@given(pair=st.lists(st.integers(0, 599), min_size=2, max_size=2, unique=True))
@settings(max_examples=100, deadline=None)
def test_swapped_and_dropped_rows_change_the_root(pair: list[int]) -> None:
    values, ids = table(600, 8, seed=3), ids_of(600)
    order = np.arange(600)
    order[pair] = order[pair[::-1]]
    roots = {
        MerkleTree.of(values, ids).root,
        MerkleTree.of(values[order], ids[order]).root,
        MerkleTree.of(values, ids[order]).root,
        MerkleTree.of(np.delete(values, pair[0], 0), np.delete(ids, pair[0])).root,
        MerkleTree.of(values[:599], ids[:599]).root,
    }
    assert len(roots) == (5 if pair[0] != 599 else 4)


def test_signs_flipped_in_several_columns_change_the_root() -> None:
    # The highest bit is where a hash modulo a power of two is weakest.
    values = table(1, 32)
    flips = [values.copy() for _ in range(33)]
    for count, flipped in enumerate(flips):
        flipped.view(np.uint32)[0, :count] ^= np.uint32(1 << 31)
    assert len({MerkleTree.of(flipped).root for flipped in flips}) == 33


def test_root_covers_shape_type_and_ids() -> None:
    roots = {
        MerkleTree.of(np.zeros((4, 3), np.float32)).root,
        MerkleTree.of(np.zeros((3, 4), np.float32)).root,
        MerkleTree.of(np.zeros((0, 4), np.float32)).root,
        MerkleTree.of(np.zeros((4, 3), np.int32)).root,
        MerkleTree.of(np.zeros((4, 3), np.float32), np.arange(4)).root,
        MerkleTree.of(np.zeros((4, 3), np.float32), np.array([0, 1, 3, 2])).root,
    }
    assert len(roots) == 6


def documented_root(values: NDArray[np.float32], ids: list[int]) -> str:
    """The definition of docs/reference/online.md, word by word."""

    def mix(z: int) -> int:
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            z = (z ^ z >> shift) * factor % 2**64
        return z ^ z >> 31

    def key(lane: int, number: int) -> int:
        return mix(((lane + 1) * 2**32 + number) * 0x9E3779B97F4A7C15 % 2**64) | 1

    def row_hash(lane: int, row: int) -> int:
        unsigned = ids[row] % 2**64
        words = [row, unsigned % 2**32, unsigned >> 32, *struct.unpack(f"<{values.shape[1]}I", values[row].tobytes())]
        return mix(sum(word * key(lane, number) for number, word in enumerate(words)) % 2**64)

    blocks = [range(start, min(start + 256, len(values))) for start in range(0, len(values), 256)]
    leaves = [sum(row_hash(lane, row) for row in block) % 2**64 for lane in (0, 1) for block in blocks]
    header = f"{len(values)}x{values.shape[1]}:float32:".encode()
    return xxhash.xxh3_128_hexdigest(header + struct.pack(f"<{len(leaves)}Q", *leaves))


def test_the_root_is_what_the_contract_says() -> None:
    values, ids = table(600, 5, seed=9) - np.float32(50), ids_of(600)
    assert MerkleTree.of(values, ids).root == documented_root(values, ids.tolist())


@pytest.mark.parametrize("row", [-1, 3])
def test_a_row_outside_the_table_is_refused(row: int) -> None:
    tree = MerkleTree.of(np.zeros((3, 2), np.float32))
    one = Rows(np.array([row]), np.zeros((1, 2), np.float32))
    with pytest.raises(IndexError):
        tree.replace(one, one, 3)


def test_tables_of_other_shapes_are_not_compared() -> None:
    with pytest.raises(ValueError, match="no rows in common"):
        MerkleTree.of(np.zeros((3, 2), np.float32)).differing(MerkleTree.of(np.zeros((3, 4), np.float32)))


def test_combined_root_depends_on_the_names() -> None:
    assert root_of_roots({"a": "1", "b": "2"}) == root_of_roots({"b": "2", "a": "1"})
    assert root_of_roots({"a": "1", "b": "2"}) != root_of_roots({"a": "2", "b": "1"})
