from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from changing_world import ANCHOR, MOMENTS, Moment, Reader, World, build, chain_of, content
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from viridian_model.chain.builder import DeltaBuilder, Selection
from viridian_model.chain.change import Change, TableChange
from viridian_model.chain.compaction import merge
from viridian_model.chain.delta import Trained, read_delta, read_manifest
from viridian_model.chain.roots import Roots
from viridian_model.errors import BadDelta, DigestMismatch
from viridian_model.ids import OOV_HASH

SELECTIONS = st.sampled_from(
    [Selection(), Selection(0.3), Selection(dense_every=4), Selection(encoding="int8"), Selection(0.5, 3, "int8")]
)
WRITE = Moment(train=(0, 1, 2, 3, 4))


@given(moments=MOMENTS, selection=SELECTIONS)
@settings(max_examples=60, deadline=None)
def test_readers_arrive_at_the_root_and_bits_of_what_was_published(moments: list[Moment], selection: Selection) -> None:
    world = World()
    deltas, builder, reader = chain_of(world, moments, selection)
    for delta in deltas:
        reader.apply(delta)
    assert reader.roots.root == Roots.of(reader.state).root == builder.root
    assert content(reader.state) == content(builder.served)
    if selection == Selection():
        assert content(reader.state) == content(world.state)


def merging(moments: list[Moment], selection: Selection, cuts: tuple[int, int]) -> None:
    deltas, _, reader = chain_of(World(), moments, selection)
    if not deltas:
        return
    low, high = sorted(cut % len(deltas) for cut in cuts)
    one, other = reader, Reader(reader.state)
    for delta in deltas:
        one.apply(delta)
    for delta in (*deltas[:low], merge(deltas[low : high + 1]), *deltas[high + 1 :]):
        other.apply(delta)
    assert content(one.state) == content(other.state)


@given(moments=MOMENTS, selection=SELECTIONS, cuts=st.tuples(st.integers(0, 7), st.integers(0, 7)))
@settings(max_examples=60, deadline=None)
def test_a_merged_chain_equals_its_replay(moments: list[Moment], selection: Selection, cuts: tuple[int, int]) -> None:
    merging(moments, selection, cuts)


@pytest.mark.thorough
@pytest.mark.timeout(7200)
@given(moments=MOMENTS, selection=SELECTIONS, cuts=st.tuples(st.integers(0, 7), st.integers(0, 7)))
@settings(max_examples=10_000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_ten_thousand_merged_chains_equal_their_replay(
    moments: list[Moment], selection: Selection, cuts: tuple[int, int]
) -> None:
    merging(moments, selection, cuts)


def test_rows_that_were_left_out_follow_later() -> None:
    world = World(rows=20)
    deltas, builder, _ = chain_of(world, [Moment(train=tuple(range(20))), *[Moment()] * 40], Selection(0.25))
    assert deltas[0].manifest.tables["user"].changed == 5
    assert content(builder.served) == content(world.state)


def test_the_largest_changes_go_first() -> None:
    world = World(rows=4)
    builder = DeltaBuilder("ctr", ANCHOR, world.state.copy(), Selection(0.5))
    world.state.tables["item"].values[:] += np.array([[0.1], [9], [0.2], [8]], np.float32)
    built = builder.build(world.state, {"item": np.arange(4)}, Trained(trained_to={}))
    assert built is not None
    assert built.delta.change.tables["item"].positions.tolist() == [1, 3]


def test_a_delta_that_was_not_published_is_in_the_next() -> None:
    world = World()
    builder = DeltaBuilder("ctr", ANCHOR, world.state.copy())
    reader = Reader(world.state)
    assert build(builder, world, Moment(train=(1,), evict=(2,), new=1)) is not None
    second = build(builder, world, Moment(train=(3,)))
    assert second is not None
    reader.apply(second.delta)
    assert content(reader.state) == content(world.state)


def test_nothing_changed_gives_no_delta() -> None:
    world = World()
    builder = DeltaBuilder("ctr", ANCHOR, world.state.copy())
    assert builder.build(world.state, {"user": np.arange(6)}, Trained(trained_to={})) is None


def test_equal_changes_give_equal_digests() -> None:
    first, second = (chain_of(World(), [WRITE, Moment(new=2)])[0] for _ in range(2))
    assert [delta.digest for delta in first] == [delta.digest for delta in second]


def test_int8_is_a_quarter_and_near() -> None:
    world = World(rows=4000)
    deltas, builder, _ = chain_of(world, [Moment(train=tuple(range(4000)))], Selection(encoding="int8"))
    served, wanted = builder.served.tables["item"].values, world.state.tables["item"].values
    assert np.abs(served - wanted).max() <= np.abs(wanted).max() / 254 + 1e-6
    assert deltas[0].change.tables["item"].values.dtype == np.float32


def test_what_was_rounded_is_not_sent_again() -> None:
    world = World()
    builder = DeltaBuilder("ctr", ANCHOR, world.state.copy(), Selection(encoding="int8"))
    first = build(builder, world, Moment(train=(1, 2), dense=True))
    assert first is not None
    builder.commit(first)
    everything = {name: np.arange(table.rows) for name, table in world.state.tables.items()}
    assert builder.build(world.state, everything, Trained(trained_to={}), everything=True) is None
    world.state.tables["item"].values[1] *= 2
    built = builder.build(world.state, everything, Trained(trained_to={}))
    assert built is not None
    assert list(built.change.tables) == ["item"]
    assert built.change.tensors == {}


def test_dense_tensors_travel_with_every_nth_delta_and_with_everything() -> None:
    world = World()
    deltas, builder, _ = chain_of(world, [Moment(train=(1, 2, 3), dense=True)] * 7, Selection(0.01, dense_every=3))
    assert [bool(delta.change.tensors) for delta in deltas] == [False, False, True, False, False, True, False]
    rest = builder.build(world.state, {}, Trained(trained_to={}), everything=True)
    assert rest is not None
    builder.commit(rest)
    assert content(builder.served) == content(world.state)


@pytest.mark.parametrize(("rows", "compression"), [(6, "zlib"), (4000, "none")])
def test_small_payloads_are_compressed(rows: int, compression: str) -> None:
    (delta,), builder, reader = chain_of(World(rows), [Moment(train=tuple(range(rows)))])
    assert delta.manifest.payload.compression == compression
    files = delta.manifest.encode(), delta.payload
    again = read_delta(delta.digest, read_manifest(files[0], delta.digest), files[1])
    reader.apply(again)
    assert content(reader.state) == content(builder.served)


def test_values_that_are_not_finite_are_refused_as_int8() -> None:
    world = World()
    builder = DeltaBuilder("ctr", ANCHOR, world.state.copy(), Selection(encoding="int8"))
    world.state.tables["item"].values[2, 1] = np.nan
    with pytest.raises(BadDelta, match="not finite"):
        builder.build(world.state, {"item": np.array([2])}, Trained(trained_to={}))


@given(where=st.integers(0, 10**9), part=st.sampled_from(["manifest", "payload"]))
@settings(max_examples=50, deadline=None)
def test_a_flipped_bit_in_a_file_of_a_delta_is_found(where: int, part: str) -> None:
    (delta,), _, _ = chain_of(World(), [WRITE])
    files = {"manifest": delta.manifest.encode(), "payload": delta.payload}
    bit = where % (len(files[part]) * 8)
    broken = bytearray(files[part])
    broken[bit // 8] ^= 1 << (bit % 8)
    files[part] = bytes(broken)
    with pytest.raises(DigestMismatch):
        read_delta(delta.digest, read_manifest(files["manifest"], delta.digest), files["payload"])


def test_a_delta_that_was_read_is_the_one_that_was_written() -> None:
    (delta,), _, _ = chain_of(World(), [WRITE])
    assert read_delta(delta.digest, read_manifest(delta.manifest.encode(), delta.digest), delta.payload) == delta


def test_only_deltas_that_follow_on_each_other_are_merged() -> None:
    deltas, _, _ = chain_of(World(), [WRITE, WRITE, WRITE])
    with pytest.raises(BadDelta, match="does not follow"):
        merge([deltas[0], deltas[2]])


def changed(**other: Any) -> TableChange:
    one = TableChange(
        rows=6,
        positions=np.array([1, 2]),
        ids=np.array([5, 6]),
        values=np.zeros((2, 3), np.float32),
        removed=np.array([4]),
    )
    return dataclasses.replace(one, **other)


@pytest.mark.parametrize(
    "bad",
    [
        Change({"nobody": changed()}),
        Change({"user": changed(rows=5)}),
        Change({"user": changed(rows=8)}),
        Change({"user": changed(positions=np.array([2, 1]))}),
        Change({"user": changed(positions=np.array([1, 4]))}),
        Change({"user": changed(positions=np.array([1, 6]))}),
        Change({"user": changed(positions=np.array([-1, 2]))}),
        Change({"user": changed(ids=np.array([5]))}),
        Change({"user": changed(values=np.zeros((2, 4), np.float32))}),
        Change({"user": changed(values=np.zeros((2, 3), np.float64))}),
        Change({}, {"nothing": np.zeros(1, np.float32)}),
        Change({"user": changed()}, {"bias": np.zeros(1, np.float32)}),
    ],
)
def test_a_change_that_does_not_fit_writes_nothing(bad: Change) -> None:
    world = World()
    before = content(world.state)
    with pytest.raises(BadDelta):
        world.state.apply(bad)
    assert content(world.state) == before


def test_row_zero_changes_like_any_other() -> None:
    world = World()
    world.state.tables["user"].ids[0] = OOV_HASH
    (delta,), _, reader = chain_of(world, [Moment(train=(0,))])
    reader.apply(delta)
    assert content(reader.state) == content(world.state)
