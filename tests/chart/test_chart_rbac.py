"""What the operator may do: exactly this, and where."""

from __future__ import annotations

import pytest

from .conftest import Manifest, Render

FULL = "get list watch create patch delete"

#: (group, resource): verbs
NEEDED = {
    ("viridian.dev", "modelupdates"): "get list watch",
    ("viridian.dev", "modelupdates/status"): "get update",
    ("viridian.dev", "modelupdates/finalizers"): "update",
    ("batch", "jobs"): FULL,
    ("apps", "deployments"): FULL,
    ("", "services"): FULL,
    ("", "configmaps"): FULL,
    ("policy", "poddisruptionbudgets"): FULL,
    ("", "secrets"): "get create patch",
    ("", "pods"): "get list watch",
    ("discovery.k8s.io", "endpointslices"): "get list watch",
    ("", "events"): "create patch",
    ("events.k8s.io", "events"): "create patch",
}
LEADER = {("coordination.k8s.io", "leases"): "get create update patch"}


def table(role: Manifest) -> dict[tuple[str, str], str]:
    return {
        (group, resource): " ".join(rule["verbs"])
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


def roles(objects: list[Manifest], kind: str) -> dict[tuple[str | None, str], Manifest]:
    return {
        (each["metadata"].get("namespace"), each["metadata"]["name"]): each for each in objects if each["kind"] == kind
    }


def test_cluster_scope(render: Render) -> None:
    objects = render()
    assert table(roles(objects, "ClusterRole")[None, "viridian"]) == NEEDED
    assert roles(objects, "Role").keys() == {("viridian-system", "viridian-leader")}
    assert table(roles(objects, "Role")["viridian-system", "viridian-leader"]) == LEADER


def test_namespaced_scope_has_nothing_cluster_wide(render: Render) -> None:
    objects = render("--set=scope.namespaces={recsys,ads}", "--set=crds.enabled=false")
    assert {each["kind"] for each in objects if each["kind"].startswith("Cluster")} == set()
    found = roles(objects, "Role")
    assert found.keys() == {
        ("recsys", "viridian"),
        ("ads", "viridian"),
        ("viridian-system", "viridian-leader"),
    }
    assert table(found["recsys", "viridian"]) == table(found["ads", "viridian"]) == NEEDED
    (deployment,) = [each for each in objects if each["kind"] == "Deployment"]
    env = deployment["spec"]["template"]["spec"]["containers"][0]["env"]
    assert {"name": "VIRIDIAN_NAMESPACES", "value": "recsys,ads"} in env


@pytest.mark.parametrize("arguments", [(), ("--set=scope.namespaces={recsys}",)])
def test_bindings_name_existing_roles_and_the_account(render: Render, arguments: tuple[str, ...]) -> None:
    objects = render(*arguments)
    bindings = [each for each in objects if each["kind"] in ("RoleBinding", "ClusterRoleBinding")]
    assert bindings
    for binding in bindings:
        reference = binding["roleRef"]
        assert (binding["metadata"].get("namespace"), reference["name"]) in roles(objects, reference["kind"])
        account = {"kind": "ServiceAccount", "name": "viridian", "namespace": "viridian-system"}
        assert binding["subjects"] == [account]


def test_people_see_and_edit_through_the_usual_roles(render: Render) -> None:
    found = roles(render(), "ClusterRole")
    view, edit = found[None, "viridian-view"], found[None, "viridian-edit"]
    assert view["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-view"] == "true"
    assert "rbac.authorization.k8s.io/aggregate-to-view" not in edit["metadata"]["labels"]
    assert table(view)["viridian.dev", "modelupdates"] == "get list watch"
    assert ("viridian.dev", "modelupdates/status") not in table(edit)
    assert (None, "viridian-view") not in roles(render("--set=rbac.aggregate=false"), "ClusterRole")


def test_no_wildcards(render: Render) -> None:
    for role in [*roles(render(), "ClusterRole").values(), *roles(render(), "Role").values()]:
        for rule in role["rules"]:
            assert "*" not in rule["verbs"] + rule["resources"] + rule["apiGroups"]
