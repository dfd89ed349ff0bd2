from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from viridian_model.merkle import LEAF_ROWS, MerkleTree, root_of_roots


@given(rows=st.integers(0, 5000), changed=st.lists(st.integers(0, 4999), max_size=5))
@settings(max_examples=40, deadline=None)
def test_updating_touched_rows_equals_building_anew(rows: int, changed: list[int]) -> None:
    table = torch.arange(rows * 2, dtype=torch.float32).reshape(rows, 2)
    tree = MerkleTree(table)
    before = tree.root
    changed = [row for row in changed if row < rows]
    for row in changed:
        table[row, 1] = -1.5
    assert tree.update(changed) == MerkleTree(table).root
    assert (tree.root != before) == bool(changed)


def test_leaves_say_where_two_tables_differ() -> None:
    table = torch.zeros(20 * LEAF_ROWS, 3)
    other = table.clone()
    other[7 * LEAF_ROWS + 1, 2] = 1
    pairs = zip(MerkleTree(table).leaves, MerkleTree(other).leaves, strict=True)
    assert [number for number, (a, b) in enumerate(pairs) if a != b] == [7]


def test_root_covers_shape_type_and_ids() -> None:
    roots = {
        MerkleTree(torch.zeros(4, 3)).root,
        MerkleTree(torch.zeros(3, 4)).root,
        MerkleTree(torch.zeros(4, 3, dtype=torch.int32)).root,
        MerkleTree(torch.zeros(4, 3), torch.tensor([0, 1, 2, 3])).root,
        MerkleTree(torch.zeros(4, 3), torch.tensor([0, 1, 3, 2])).root,
    }
    assert len(roots) == 5


def test_a_row_outside_the_table_is_refused() -> None:
    with pytest.raises(IndexError):
        MerkleTree(torch.zeros(3, 2)).update([3])


def test_combined_root_depends_on_the_names() -> None:
    assert root_of_roots({"a": "1", "b": "2"}) == root_of_roots({"b": "2", "a": "1"})
    assert root_of_roots({"a": "1", "b": "2"}) != root_of_roots({"a": "2", "b": "1"})
