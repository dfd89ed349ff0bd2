"""Nothing is written for an object that says what it should, and everything else is noticed."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from viridian_operator.act.difference import difference

names = st.text("abcdef", min_size=1, max_size=4)
scalars = st.one_of(st.integers(-5, 5), st.booleans(), st.text("xyz", max_size=3))
keyed = st.lists(
    st.fixed_dictionaries({"name": names}, optional={"value": st.text("xyz", max_size=3)}),
    max_size=4,
    unique_by=lambda item: item["name"],
)


def trees(depth: int = 3) -> st.SearchStrategy[dict[str, Any]]:
    children = scalars if depth == 0 else st.one_of(scalars, trees(depth - 1), st.lists(scalars, max_size=3))
    plain = st.dictionaries(names, children, max_size=4)
    return st.tuples(plain, keyed).map(lambda pair: {**pair[0], "env": pair[1]})


def as_served(tree: Any, chance: random.Random) -> Any:
    """A tree as the API server gives it back: more fields, empty ones dropped, merged lists in any order."""
    if not isinstance(tree, dict):
        return copy.deepcopy(tree)
    served: dict[str, Any] = {"defaulted": 1} if chance.random() < 0.5 else {}
    for key, value in tree.items():
        if value in ("", False, 0) or value in ([], {}):
            continue
        served[key] = as_served(value, chance)
        if key == "env":
            served[key] = [as_served(item, chance) for item in value] + [{"name": "injected"}]
            chance.shuffle(served[key])
    return served


@given(trees(), st.randoms(use_true_random=False))
def test_what_the_server_adds_and_drops_is_no_difference(tree: dict[str, Any], chance: random.Random) -> None:
    assert difference(tree, tree) == []
    assert difference(tree, as_served(tree, chance)) == []


@given(trees(), st.data())
def test_a_changed_or_missing_field_is_a_difference(tree: dict[str, Any], data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(_leaves(tree) or [()]))
    if not path:
        return
    live = copy.deepcopy(tree)
    node: Any = live
    for step in path[:-1]:
        node = node[step]
    node[path[-1]] = "another"
    assert difference(tree, live) != []


def _leaves(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(tree, dict):
        return [leaf for key, value in tree.items() if key != "name" for leaf in _leaves(value, (*path, key))]
    if isinstance(tree, list):
        return [leaf for index, value in enumerate(tree) for leaf in _leaves(value, (*path, index))]
    return [path]


@given(st.integers(1, 64), st.sampled_from(["Mi", "Gi", "m", "k", ""]))
def test_quantities_are_compared_by_value(number: int, suffix: str) -> None:
    milli = {"m": number, "": number * 1000, "k": number * 10**6}.get(suffix)
    other = f"{milli}m" if milli is not None else f"{number * (1024 if suffix == 'Gi' else 1)}Mi"
    desired = {"resources": {"limits": {"memory": f"{number}{suffix}"}}}
    assert difference(desired, {"resources": {"limits": {"memory": other}}}) == []
    assert difference(desired, {"resources": {"limits": {"memory": "100Ti"}}}) == ["resources.limits.memory"]


@pytest.mark.parametrize(
    ("desired", "live", "paths"),
    [
        ({"selector": {"a": "1"}}, {"selector": {"a": "1", "b": "2"}}, ["selector"]),
        ({"replicas": 0}, {}, ["replicas"]),
        ({"replicas": 0}, {"replicas": 1}, ["replicas"]),
        ({"automountServiceAccountToken": False}, {}, ["automountServiceAccountToken"]),
        ({"hostNetwork": False, "command": [], "labels": {}}, {}, []),
        ({"args": ["a"]}, {"args": ["a", "b"]}, ["args"]),
        ({"ports": [{"port": 80, "targetPort": 1}]}, {"ports": [{"port": 80, "protocol": "TCP", "targetPort": 1}]}, []),
        (
            {"containers": [{"name": "a", "image": "x:2"}]},
            {"containers": [{"name": "sidecar"}, {"name": "a", "image": "x:1"}]},
            ["containers[a].image"],
        ),
        ({"volumeMounts": [{"mountPath": "/a", "name": "v"}]}, {"volumeMounts": []}, ["volumeMounts[/a]"]),
        ({"limits": {"cpu": 1}}, {"limits": {"cpu": "1000m"}}, []),
        ({"limits": {"cpu": 1}}, {"limits": {}}, ["limits.cpu"]),
    ],
)
def test_rules_of_the_api(desired: dict[str, Any], live: dict[str, Any], paths: list[str]) -> None:
    assert difference(desired, live) == paths
