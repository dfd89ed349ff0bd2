"""Which ModelUpdate an object belongs to."""

from __future__ import annotations

import pytest

from viridian_operator.kube.resources import Key
from viridian_operator.runtime.shell import parent_of

OWNER = {"apiVersion": "viridian.dev/v1alpha1", "kind": "ModelUpdate", "name": "ctr"}


@pytest.mark.parametrize(
    ("metadata", "parent"),
    [
        ({"labels": {"viridian.dev/model-update": "ctr"}}, Key("n", "ctr")),
        ({"ownerReferences": [OWNER]}, Key("n", "ctr")),
        ({"ownerReferences": [OWNER | {"apiVersion": "viridian.dev/v2"}]}, Key("n", "ctr")),
        ({"ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "x"}, OWNER]}, Key("n", "ctr")),
        ({"ownerReferences": [OWNER | {"apiVersion": "other.dev/v1"}]}, None),
        ({"labels": {"app": "ctr"}}, None),
        ({"labels": None, "ownerReferences": None}, None),
        ({}, None),
    ],
)
def test_parent(metadata: dict, parent: Key | None) -> None:
    assert parent_of({"metadata": {"namespace": "n", **metadata}}) == parent
